"""The golden streaming run: its inputs and draws, and how far float32 itself can be trusted there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import mlx.core as mx
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reference import flow, hift, recipe
from reference.flow import CausalMaskedDiffWithXvec
from reference.hift import HiFTGenerator
from reference.streaming import Prompt, offline, stream
from tests.support import flow as flow_support
from tests.support.golden import as_torch, recipe_state_dict
from tests.support.hift import CONFIGS, as_mapping

TOKENS = 213
#: Golden run -> its speed.
RUNS = {"stream": 1.0, "offline": 1.0, "offline_speed1.25": 1.25}

Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]


def tokens() -> list[int]:
    return recipe.integers("input/token_stream", (1, TOKENS), 6561)[0].tolist()


def draws() -> Draw:
    """The draws of one run: those of the i-th run of the vocoder are named by i."""
    runs = 0

    def draw(samples: int) -> tuple[np.ndarray, np.ndarray]:
        nonlocal runs
        number, runs = runs, runs + 1
        rand_ini = (recipe.uniform(f"noise/rand_ini/{number}", (1, 9)) + 1) / 2
        return rand_ini, recipe.unit(f"noise/sine/{number}", (1, samples, 9))

    return draw


def torch_draws(dtype: torch.dtype = torch.float32) -> Callable[[int], tuple[torch.Tensor, torch.Tensor]]:
    draw = draws()

    def torch_draw(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
        rand_ini, sine_noise = draw(samples)
        return torch.from_numpy(rand_ini).to(dtype), torch.from_numpy(sine_noise).to(dtype)

    return torch_draw


def torch_prompt(dtype: torch.dtype = torch.float32) -> Prompt:
    given = flow_support.inputs()
    return Prompt(
        torch.from_numpy(given.prompt_token),
        torch.from_numpy(given.prompt_feat).to(dtype),
        torch.from_numpy(given.embedding).to(dtype),
    )


@cache
def reference_models(size: str) -> tuple[CausalMaskedDiffWithXvec, HiFTGenerator]:
    speaker = flow.build(flow_support.config_dict(size))
    speaker.load_state_dict(as_torch(recipe_state_dict(f"flow.{size}")), strict=True)
    vocoder = hift.build(as_mapping(CONFIGS[size]))
    vocoder.load_state_dict(as_torch(recipe_state_dict(f"hift.{size}")), strict=True)
    return speaker, vocoder


class ExactSource:
    """A vocoder whose f0 and source are computed in float64; the rest of it is the float32 original."""

    def __init__(self, model: HiFTGenerator) -> None:
        self.model, self.exact = model, copy.deepcopy(model).double()

    def source(self, mel: Tensor, rand_ini: Tensor, sine_noise: Tensor) -> Tensor:
        f0 = self.exact.f0_predictor(mel.double())
        return self.exact.source(f0, rand_ini.double(), sine_noise.double()).float()

    def inference(
        self, mel: Tensor, *, rand_ini: Tensor, sine_noise: Tensor, cache_source: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        source = self.source(mel, rand_ini, sine_noise)
        if cache_source is not None:
            source = torch.cat([cache_source, source[:, :, cache_source.shape[2] :]], dim=2)
        return self.model.decode(mel, source), source


@cache
def reference_run(name: str, size: str) -> list[np.ndarray]:
    """The pieces [1, samples] of a golden run, made by the reference."""
    given = *reference_models(size), torch.tensor([tokens()]), torch_prompt(), torch_draws()
    if name == "stream":
        return [piece.wav.numpy() for piece in stream(*given)]
    return [offline(*given, speed=RUNS[name]).numpy()]


@cache
def source_floor(name: str, size: str) -> float:
    """What float32 costs in the source, seen in the waveform of a golden run: as `support.hift.source_floor`.

    A stream is vocoded in short pieces, and the rounding of f0 and source is what counts. An utterance in one piece
    of 8.5 s adds up in its phase what float32 costs the mel, too: there even exact arithmetic is 1.2e-2 away from the
    official numbers of the tiny model. So the source is then computed in float64 from a mel in float64.
    """
    flow_model, vocoder = reference_models(size)
    if name == "stream":
        exact: Any = ExactSource(vocoder)
        given = torch.tensor([tokens()]), torch_prompt(), torch_draws()
        wav = np.concatenate([piece.wav.numpy() for piece in stream(flow_model, exact, *given)], axis=1)
    else:
        with torch.inference_mode():
            mel, exact_mel = (offline_mel(model, name) for model in (flow_model, copy.deepcopy(flow_model).double()))
            draw = torch_draws()(480 * mel.shape[2])
            source = ExactSource(vocoder).source(exact_mel, *draw)
            wav = vocoder.decode(mel, source).numpy()
    return float(np.abs(wav - np.concatenate(reference_run(name, size), axis=1)).max())


def offline_mel(model: CausalMaskedDiffWithXvec, name: str) -> Tensor:
    """[1, 80, T] of a golden run in one piece, in the model's dtype."""
    given = torch_prompt(model.encoder_proj.weight.dtype)
    mel = model.inference(
        torch.tensor([tokens()]), given.token, given.feat, given.embedding, streaming=False, finalize=True
    )
    speed = RUNS[name]
    return F.interpolate(mel, size=int(mel.shape[2] / speed), mode="linear") if speed != 1 else mel


def fake_prompt(tokens: int) -> Prompt:
    token = torch.from_numpy(recipe.integers("fake/prompt", (1, tokens), 6561))
    return Prompt(token, torch.from_numpy(recipe.unit("fake/feat", (1, 2 * tokens, 80))), torch.zeros(1, 192))


def _fake_mel(token: np.ndarray, streaming: bool, finalize: bool) -> np.ndarray:
    """[1, T, 80] that depends on every token, its place, and on both flags."""
    spoken = token[0] if finalize else token[0, :-3]
    frames = np.repeat(np.cos(spoken), 2) + 0.01 * np.arange(2 * len(spoken)) + streaming + 2 * finalize
    return (frames[None, :, None] * np.linspace(0.5, 1, 80)).astype(np.float32)


def _fake_vocoder(
    mel: np.ndarray, rand_ini: np.ndarray, sine_noise: np.ndarray, cache_source: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """wav [1, 480 T] and source [1, 480 T] that depend on everything that goes in."""
    source = np.repeat(mel.mean(2), 480, 1) + rand_ini.sum() + 0.1 * sine_noise.mean(2)
    if cache_source is not None:
        source[:, : cache_source.size] = cache_source.reshape(1, -1)
    return (np.sin(source) + 0.1 * np.repeat(mel[:, :, 3], 480, 1)).astype(np.float32), source.astype(np.float32)


class TorchFake:
    """Stands in for both networks of the reference: cheap, and the same function as `MlxFake`."""

    pre_lookahead_len, token_mel_ratio = 3, 2

    def inference(self, given: Tensor, *rest: Tensor, cache_source: Tensor | None = None, **how: Any) -> Any:
        if rest:
            return torch.from_numpy(_fake_mel(given.numpy(), how["streaming"], how["finalize"])).mT
        draws = how["rand_ini"].numpy(), how["sine_noise"].numpy()
        cache = None if cache_source is None else cache_source.numpy()
        wav, source = _fake_vocoder(given.mT.numpy(), *draws, cache)
        return torch.from_numpy(wav), torch.from_numpy(source)[:, None]


class MlxFake:
    """Stands in for both networks of a decoder."""

    pre_lookahead_len, token_mel_ratio, vocab_size, samples_per_frame = 3, 2, 6561, 480

    def __call__(self, given: mx.array, *rest: mx.array, cache_source: mx.array | None = None, **how: Any) -> Any:
        if rest:
            return mx.array(_fake_mel(np.array(given), how["streaming"], how["finalize"]))
        draws = np.array(how["rand_ini"]), np.array(how["sine_noise"])
        wav, source = _fake_vocoder(np.array(given), *draws, None if cache_source is None else np.array(cache_source))
        return mx.array(wav), mx.array(source)[:, :, None]

"""The golden streaming run: its inputs and draws, and how far float32 itself can be trusted there."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from itertools import islice
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mlx_cosyvoice.prompt import Prompt as MlxPrompt
from reference import flow, hift
from reference.flow import CausalMaskedDiffWithXvec
from reference.hift import HiFTGenerator
from reference.streaming import KEPT_FRAMES, Prompt, offline, stream
from reference.synthetic import recipe
from tests.support import flow as flow_support
from tests.support.golden import as_torch, assert_close, golden, recipe_state_dict
from tests.support.hift import CONFIGS, as_mapping

TOKENS = 213
#: Golden run -> its speed.
RUNS = {"stream": 1.0, "offline": 1.0, "offline_speed1.25": 1.25}
OFFLINE = [name for name in RUNS if name != "stream"]
#: Each, its size, and how many of its pieces; None for all. At full size a whole run takes minutes.
RUNS_BY_SAMPLES = [
    ("stream", "tiny", None),
    ("offline", "tiny", None),
    pytest.param("offline_speed1.25", "tiny", None, marks=pytest.mark.slow),
    pytest.param("stream", "full", 2, marks=pytest.mark.slow),
    pytest.param("stream", "full", None, marks=pytest.mark.soak),
]
RUNS_AT_ONCE = [pytest.param(name, "full", None, marks=pytest.mark.soak) for name in OFFLINE]
BY_SAMPLES = pytest.mark.parametrize(("name", "size", "count"), RUNS_BY_SAMPLES)
GOLDEN_RUNS = pytest.mark.parametrize(("name", "size", "count"), [*RUNS_BY_SAMPLES, *RUNS_AT_ONCE])

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
    inputs = flow_support.inputs()
    return Prompt(
        torch.from_numpy(inputs.prompt_token),
        torch.from_numpy(inputs.prompt_feat).to(dtype),
        torch.from_numpy(inputs.embedding).to(dtype),
    )


@cache
def reference_models(size: str) -> tuple[CausalMaskedDiffWithXvec, HiFTGenerator]:
    speaker = flow.build(flow_support.config_dict(size))
    speaker.load_state_dict(as_torch(recipe_state_dict(f"flow.{size}")), strict=True)
    vocoder = hift.build(as_mapping(CONFIGS[size]))
    vocoder.load_state_dict(as_torch(recipe_state_dict(f"hift.{size}")), strict=True)
    return speaker, vocoder


class Recorder:
    """A flow that keeps what it returns."""

    pre_lookahead_len, token_mel_ratio = 3, 2

    def __init__(self, model: CausalMaskedDiffWithXvec) -> None:
        self.model = model
        self.mels: list[Tensor] = []

    def inference(self, *arguments: Tensor, **how: Any) -> Tensor:
        self.mels.append(self.model.inference(*arguments, **how))
        return self.mels[-1]


class ExactSource:
    """Stands in for both networks: the mels are recorded ones, f0 and source are computed in float64 from mels in
    float64, and what the vocoder makes of mel and source is the float32 original.
    """

    pre_lookahead_len, token_mel_ratio = 3, 2

    def __init__(self, size: str, mels: list[Tensor]) -> None:
        flow_model, self.vocoder = reference_models(size)
        self.flow, self.exact = copy.deepcopy(flow_model).double(), copy.deepcopy(self.vocoder).double()
        self.mels = iter(mels)
        self.mel = self.kept = torch.zeros(1, 80, 0, dtype=torch.float64)

    def inference(self, first: Tensor, *rest: Tensor, cache_source: Tensor | None = None, **how: Any) -> Any:
        if rest:
            prompt_token, *floats = rest
            self.mel = self.flow.inference(first, prompt_token, *(tensor.double() for tensor in floats), **how)
            return next(self.mels)
        source = self.source(first.shape[2], **how)
        if cache_source is not None:
            source = torch.cat([cache_source, source[:, :, cache_source.shape[2] :]], dim=2)
        return self.vocoder.decode(first, source), source

    def source(self, frames: int, rand_ini: Tensor, sine_noise: Tensor) -> Tensor:
        """Of the last `frames` frames: those kept of the run before, and the new ones."""
        if not self.kept.shape[2] and self.mel.shape[2] != frames:  # at another speed
            mel = F.interpolate(self.mel, size=frames, mode="linear")
        else:
            mel = torch.cat([self.kept, self.mel[:, :, -(frames - self.kept.shape[2]) :]], dim=2)
        self.kept = mel[:, :, -KEPT_FRAMES:]
        f0 = self.exact.f0_predictor(mel)
        return self.exact.source(f0, rand_ini.double(), sine_noise.double()).float()


def run(
    name: str, flow_model: Any, vocoder: Any, draw: Any, dtype: torch.dtype = torch.float32, count: int | None = None
) -> list[np.ndarray]:
    """The first `count` pieces [1, samples] of a golden run by the reference's loop; the prompt is of `dtype`."""
    arguments = flow_model, vocoder, torch.tensor([tokens()]), torch_prompt(dtype), draw
    if name == "stream":
        return [piece.wav.numpy() for piece in islice(stream(*arguments), count)]
    return [offline(*arguments, speed=RUNS[name]).numpy()]


@cache
def _reference(name: str, size: str, count: int | None) -> tuple[list[np.ndarray], list[Tensor]]:
    flow_model, vocoder = reference_models(size)
    recorder = Recorder(flow_model)
    return run(name, recorder, vocoder, torch_draws(), count=count), recorder.mels


def reference_run(name: str, size: str, count: int | None = None) -> list[np.ndarray]:
    """The first `count` pieces [1, samples] of a golden run, made by the reference."""
    return _reference(name, size, count)[0]


@cache
def source_floor(name: str, size: str, count: int | None = None) -> float:
    """What float32 costs in the source, seen in the first `count` pieces of a golden run.

    As `support.hift.source_floor`: max abs difference between the float32 reference and the same decoder fed with a
    source computed in float64. There the mel is an input, here computed, and what float32 costs it counts as well.
    Where that is left out the floor is too low to be one: the float32 reference itself is then 3.6 floors away from
    the official numbers of the full model.
    """
    pieces, mels = _reference(name, size, count)
    networks = ExactSource(size, mels)
    exact = run(name, networks, networks, torch_draws(), count=count)
    return float(np.abs(np.concatenate(pieces, axis=1) - np.concatenate(exact, axis=1)).max())


def assert_official(name: str, size: str, pieces: list[np.ndarray], count: int | None = None) -> None:
    """The first `count` pieces [1, samples] of a golden run: the official lengths and waveform."""
    assert_run(golden(f"stream.{size}"), name, pieces, 3e-3, lambda: source_floor(name, size, count), count)


def assert_run(
    file: Any,
    name: str,
    pieces: list[np.ndarray],
    bound: float,
    floor: Callable[[], float],
    count: int | None = None,
) -> None:
    """The lengths and the waveform that a golden file has; beyond `bound` up to three times what `floor` measures."""
    lengths = file[f"{name}/chunk_samples"][:count].tolist()
    assert [piece.shape[1] for piece in pieces] == lengths
    wav, official = np.concatenate(pieces, axis=1), file[f"{name}/wav"][:, : sum(lengths)]
    if not np.abs(wav - official).max() <= bound:  # the floor costs two runs of the reference
        bound = max(bound, 3 * floor())
    assert_close(wav, official, bound, name)


def mlx_prompt(token_count: int = flow_support.PROMPT) -> MlxPrompt:
    """The same for a decoder, cut to so many tokens."""
    inputs = flow_support.inputs()
    arrays = inputs.prompt_token[:, :token_count], inputs.prompt_feat[:, : 2 * token_count], inputs.embedding
    return MlxPrompt(*map(mx.array, arrays))


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

    def inference(self, first: Tensor, *rest: Tensor, cache_source: Tensor | None = None, **how: Any) -> Any:
        if rest:
            return torch.from_numpy(_fake_mel(first.numpy(), how["streaming"], how["finalize"])).mT
        draws = how["rand_ini"].numpy(), how["sine_noise"].numpy()
        cache = None if cache_source is None else cache_source.numpy()
        wav, source = _fake_vocoder(first.mT.numpy(), *draws, cache)
        return torch.from_numpy(wav), torch.from_numpy(source)[:, None]


class MlxFake:
    """Stands in for both networks of a decoder."""

    pre_lookahead_len, token_mel_ratio, vocab_size, samples_per_frame = 3, 2, 6561, 480

    def __call__(self, first: mx.array, *rest: mx.array, cache_source: mx.array | None = None, **how: Any) -> Any:
        if rest:
            return mx.array(_fake_mel(np.array(first), how["streaming"], how["finalize"]))
        draws = np.array(how["rand_ini"]), np.array(how["sine_noise"])
        wav, source = _fake_vocoder(np.array(first), *draws, None if cache_source is None else np.array(cache_source))
        return mx.array(wav), mx.array(source)[:, :, None]

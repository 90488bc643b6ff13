"""The official networks called as those of this package: the same names, arguments and results.

What they draw by themselves is replaced from outside: `ras_sampling`, or `multinomial` in it; and `torch.rand` and
`torch.randn_like` in the vocoder, or its own `rand_ini` and `sine_waves` where it is causal. The flow's noise they draw
by their own seed, as this package does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from reference.llm import Sampler
from reference.streaming import Draw, Prompt

#: What stands for no speaker in the language model's call.
NOBODY = torch.zeros(0, 192)


def _counted(*arrays: Tensor) -> list[Tensor]:
    """Each array, and how long it is."""
    return [part for array in arrays for part in (array, torch.tensor([array.shape[1]], dtype=torch.int32))]


def _saying(llm: Any, sampler: Sampler) -> Any:
    return mock.patch.object(llm, "sampling_ids", lambda row, decoded, _, ignore_eos: sampler(row, decoded, ignore_eos))


def generate(
    llm: Any, text: Tensor, prompt_text: Tensor, speech: Tensor, sampler: Sampler, **ratios: float
) -> Iterator[int]:
    with _saying(llm, sampler):
        yield from llm.inference(*_counted(text, prompt_text, speech), NOBODY, **ratios)


def generate_bistream(
    llm: Any, chunks: Iterable[Tensor], prompt_text: Tensor, speech: Tensor, sampler: Sampler, *, instruction: int
) -> Iterator[int]:
    """`instruction` is what they find themselves."""
    with _saying(llm, sampler):
        yield from llm.inference_bistream(iter(chunks), *_counted(prompt_text, speech), NOBODY)


def sampler(llm: Any, uniforms: Iterator[float], forbidden: int) -> Sampler:
    """Their sampler, in float64, so that rounding decides nothing. Draws are made of `uniforms` as `RASSampler` does.

    `forbidden` is where its end of speech is, seen from the end of the ids.
    """

    def multinomial(probs: Tensor, *_: Any, **__: Any) -> Tensor:
        falling, ids = probs.sort(descending=True, stable=True)
        total = falling.cumsum(0)
        at = torch.searchsorted(total, next(uniforms) * total[-1], right=True)
        return ids[at.clamp(max=int((falling > 0).sum()) - 1)].reshape(1)

    def draw(row: Tensor, decoded: list[int], ignore_eos: bool) -> int:
        size = mock.patch.object(llm, "speech_token_size", len(row) + forbidden)
        with size, mock.patch.object(torch.Tensor, "multinomial", multinomial):
            return int(llm.sampling_ids(row.double(), decoded, 25, ignore_eos))

    return draw


def encode(flow: Any, *arrays: Tensor, streaming: bool, finalize: bool) -> tuple[Tensor, Tensor, Tensor]:
    *pieces, embedding = arrays
    seen: dict[str, Tensor] = {}

    def decoder(**given: Any) -> tuple[Tensor, None]:
        seen.update(given)
        return given["mu"], None

    with mock.patch.object(flow.decoder, "forward", decoder):
        flow.inference(*_counted(*pieces), embedding, streaming=streaming, finalize=finalize)
    return seen["mu"], seen["spks"], seen["cond"]


def decoder(flow: Any, mu: Tensor, spks: Tensor, cond: Tensor, **options: Any) -> Tensor:
    mel: Tensor = flow.decoder(mu=mu, mask=torch.ones_like(mu[:, :1]), spks=spks, cond=cond, **options)[0]
    return mel


def inference(hift: Any, mel: Tensor, *, rand_ini: Tensor, sine_noise: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    with _drawing(hift, lambda samples: (rand_ini, sine_noise)):
        wav, source = hift.inference(mel, **options)
    return wav, source


@contextmanager
def _drawing(hift: Any, draw: Draw) -> Iterator[None]:
    """In which the vocoder gets its random numbers from `draw`, once a run."""
    sines = hift.m_source.l_sin_gen
    forward = sines.forward

    def drawn(f0: Tensor) -> Any:
        rand_ini, noise = draw(f0.shape[1])
        rand_ini = torch.cat([torch.zeros_like(rand_ini[:, :1]), rand_ini[:, 1:]], dim=1)
        if sines.causal:
            places = mock.patch.multiple(sines, rand_ini=rand_ini, sine_waves=noise)
        else:
            places = mock.patch.multiple(torch, rand=lambda *_, **__: rand_ini, randn_like=lambda _: noise)
        with places:
            return forward(f0)

    with mock.patch.object(sines, "forward", drawn):
        yield


def spoken(
    model: Callable[..., Any],
    flow: Any,
    hift: Any,
    token: Tensor,
    prompt: Prompt,
    draw: Draw,
    *,
    stream: bool,
    speed: float = 1.0,
    n_timesteps: int = 10,
) -> list[Tensor]:
    """The waves of `reference.streaming.stream`, or of its `offline`, by their class `model` around the networks."""
    voice = {
        "flow_prompt_speech_token": prompt.token,
        "prompt_speech_feat": prompt.feat,
        "flow_embedding": prompt.embedding,
    }
    steps = flow.decoder.forward

    def fewer(**given: Any) -> Any:
        return steps(**{**given, "n_timesteps": n_timesteps})

    with _drawing(hift, draw), mock.patch.object(flow.decoder, "forward", fewer):
        pieces = model(None, flow, hift).tts(source_speech_token=token, **voice, stream=stream, speed=speed)
        return [piece["tts_speech"] for piece in pieces]

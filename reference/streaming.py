"""Speech tokens to waveform, hop by hop and at once: the models of `cosyvoice.cli.model`, `tts` and `token2wav`.

The tokens are inputs, as in the official voice conversion. A hop runs the flow on all tokens up to its end and the
lookahead, takes the frames that are new, and vocodes them: CosyVoice2 after the last frames of the hop before, the two
waveforms of which are cross-faded; CosyVoice3, whose vocoder is causal, after all that were before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reference.causal_hift import CausalHiFTGenerator
from reference.flow import CausalMaskedDiff
from reference.hift import Generator, HiFTGenerator

#: Tokens of an attention chunk, with a border of which every hop ends, and the longest hop.
CHUNK, LONGEST_HOP = 25, 100
#: What the vocoder keeps of a hop, in mel frames and in samples.
KEPT_FRAMES = 8
KEPT_SAMPLES = KEPT_FRAMES * 480

#: samples -> (rand_ini [1, 9], sine_noise [1, samples, 9]), called once a run of the vocoder.
Draw = Callable[[int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Prompt:
    """token [1, N] int64, N may be 0; feat [1, 2N, 80]; embedding [1, 192]."""

    token: Tensor
    feat: Tensor
    embedding: Tensor


@dataclass(frozen=True)
class Cache:
    """The end of a hop: mel [1, 80, 8], source [1, 1, 3840], and the speech [1, 3840] that was held back."""

    mel: Tensor
    source: Tensor
    speech: Tensor


@dataclass(frozen=True)
class Spoken:
    """What a causal vocoder goes on with: mel [1, 80, T] of all hops, and how many of its samples were put out."""

    mel: Tensor
    offset: int


@dataclass(frozen=True)
class Piece:
    """One piece of a stream: `wav` [1, samples], and what the next one goes on with, None after the last."""

    wav: Tensor
    cache: Any


def hops(tokens: int, prompt_tokens: int, lookahead: int) -> list[int]:
    """How many of `tokens` tokens each hop speaks. The last entry is the rest, which is spoken with full attention.

    The official code keeps the grown hop for the utterances that come after; here each starts with the small one.
    """
    result: list[int] = []
    hop = CHUNK
    while True:
        wanted = hop + (-prompt_tokens % CHUNK if not result else 0)
        rest = tokens - sum(result)
        if rest < wanted + lookahead:
            return [*result, rest]
        result.append(wanted)
        hop = min(2 * hop, LONGEST_HOP)


def cross_fade(wav: Tensor, speech: Tensor) -> Tensor:
    """`wav` [1, samples], whose first samples fade in while `speech` [1, L] fades out."""
    window = torch.from_numpy(np.hamming(2 * speech.shape[1])).to(wav.dtype)
    rising, falling = window.chunk(2)
    overlap = speech.shape[1]
    return torch.cat([wav[:, :overlap] * rising + speech * falling, wav[:, overlap:]], dim=1)


def vocode(hift: HiFTGenerator, mel: Tensor, cache: Cache | None, draw: Draw, *, final: bool) -> Piece:
    """The next piece from its new frames [1, 80, T]."""
    if cache is not None:
        mel = torch.cat([cache.mel, mel], dim=2)
    rand_ini, sine_noise = draw(480 * mel.shape[2])
    wav, source = hift.inference(
        mel, rand_ini=rand_ini, sine_noise=sine_noise, cache_source=cache.source if cache is not None else None
    )
    if cache is not None:
        wav = cross_fade(wav, cache.speech)
    if final:
        return Piece(wav, None)
    kept = Cache(mel[:, :, -KEPT_FRAMES:], source[:, :, -KEPT_SAMPLES:], wav[:, -KEPT_SAMPLES:])
    return Piece(wav[:, :-KEPT_SAMPLES], kept)


def vocode_anew(hift: CausalHiFTGenerator, mel: Tensor, cache: Spoken | None, draw: Draw, *, final: bool) -> Piece:
    """The same by a causal vocoder, which is run on all frames so far."""
    before = Spoken(mel[:, :, :0], 0) if cache is None else cache
    mel = torch.cat([before.mel, mel], dim=2)
    rand_ini, sine_noise = draw(480 * (mel.shape[2] - (0 if final else hift.f0_predictor.reach)))
    wav, _ = hift.inference(mel, rand_ini=rand_ini, sine_noise=sine_noise, finalize=final)
    return Piece(wav[:, before.offset :], None if final else Spoken(mel, wav.shape[1]))


def _vocoding(hift: Generator) -> Callable[..., Piece]:
    return vocode_anew if isinstance(hift, CausalHiFTGenerator) else vocode


@torch.inference_mode()
def stream(
    flow: CausalMaskedDiff,
    hift: Generator,
    token: Tensor,
    prompt: Prompt,
    draw: Draw,
    *,
    n_timesteps: int = 10,
) -> Iterator[Piece]:
    """The official `tts(..., stream=True)` with the tokens as inputs.

    Args:
        flow: tokens to mel.
        hift: mel to waveform.
        token: [1, N] int64, N >= 1.
        prompt: the voice.
        draw: random numbers for each run of the vocoder.
        n_timesteps: Euler steps.
    """
    lookahead, cache, spoken = flow.pre_lookahead_len, None, 0
    plan = hops(token.shape[1], prompt.token.shape[1], lookahead)
    for number, hop in enumerate(plan, start=1):
        final = number == len(plan)
        heard = token if final else token[:, : spoken + hop + lookahead]
        mel = flow.inference(
            heard,
            prompt.token,
            prompt.feat,
            prompt.embedding,
            streaming=not final,
            finalize=final,
            n_timesteps=n_timesteps,
        )
        piece = _vocoding(hift)(hift, mel[:, :, flow.token_mel_ratio * spoken :], cache, draw, final=final)
        yield piece
        cache, spoken = piece.cache, spoken + hop


@torch.inference_mode()
def offline(
    flow: CausalMaskedDiff,
    hift: Generator,
    token: Tensor,
    prompt: Prompt,
    draw: Draw,
    *,
    speed: float = 1.0,
    n_timesteps: int = 10,
) -> Tensor:
    """The official `tts(..., stream=False)`: [1, samples]; arguments as for `stream`, and the speed of speech."""
    mel = flow.inference(
        token, prompt.token, prompt.feat, prompt.embedding, streaming=False, finalize=True, n_timesteps=n_timesteps
    )
    if speed != 1.0:
        mel = F.interpolate(mel, size=int(mel.shape[2] / speed), mode="linear")
    return _vocoding(hift)(hift, mel, None, draw, final=True).wav

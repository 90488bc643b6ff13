"""What is compared of a stream, by hop and part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mlx_parity.sides import Side
from parity.stages.base import Outputs
from parity.stages.vocoder import samples_per_frame
from parity.stages.whole_vocoder import Whole

#: The parts that hang on the phase of the hop, or of the one before.
OF_PHASE = ("vocoder_source", "wav_seam", "wav", "source_cache", "speech_tail")
#: Part of a hop -> the part of the loop that makes it.
PARTS = {
    "flow_token": "streaming.hop",
    "flow_mode": "streaming.hop",
    "vocoder_mel_kept": "streaming.mel_cache",
    "vocoder_mel_new": "streaming.offset",
    "vocoder_source": "streaming.source_cache",
    "vocoder_noise": "streaming.noise",
    "vocoder_state": "streaming.vocoder_state",
    "vocoder_final": "streaming.held_back",
    "wav_seam": "streaming.cross_fade",
    "wav": "streaming.held_back",
    "mel_cache": "streaming.mel_cache",
    "source_cache": "streaming.source_cache",
    "speech_tail": "streaming.speech_tail",
}


@dataclass(frozen=True)
class Hop:
    """What one hop of either side did; arrays in the official layout.

    Attributes:
        flow: what went into the flow: token, the flags streaming and finalize, and the Euler steps (0: not passed).
        mel: what came out of the flow.
        vocoder: what went into the vocoder: mel and cached source (None if there is none); a causal one: mel and noise.
        made: what came out of the vocoder: wav and source.
        wav: what was put out.
        cache: mel, source and speech that are carried on; empty after the last hop.
        f0: [1, T] of the frames that its phase adds up, all so far if the vocoder is causal; None where it is isolated.
        final: whether a causal vocoder is told that no frames follow.
    """

    flow: tuple[np.ndarray, bool, bool, int]
    mel: np.ndarray
    vocoder: tuple[np.ndarray, Any]
    made: tuple[np.ndarray, np.ndarray]
    wav: np.ndarray
    cache: tuple[np.ndarray, ...]
    f0: np.ndarray | None = None
    final: bool = True


@dataclass(frozen=True)
class Stream:
    """What a whole stream did, and what the reference makes of all frames where its vocoder is causal."""

    hops: list[Hop]
    whole: Whole | None = None

    @property
    def wav(self) -> np.ndarray:
        """[1, samples]."""
        return np.concatenate([hop.wav for hop in self.hops], axis=1)

    def following(self, f0: np.ndarray | None, scale: int) -> Stream:
        """With the F0 [1, T] of a causal vocoder, which has so many samples a frame."""
        if f0 is None:
            return self
        frames = np.cumsum([hop.wav.shape[1] for hop in self.hops]) // scale
        return Stream([replace(hop, f0=f0[:, :count]) for hop, count in zip(self.hops, frames, strict=True)])


def new_of(arrays: tuple[np.ndarray, ...], before: tuple[np.ndarray, ...] | None) -> tuple[np.ndarray, ...]:
    """What arrays that end with time have beyond those of the hop before."""
    return arrays if before is None else tuple(a[..., b.shape[-1] :] for a, b in zip(arrays, before, strict=True))


def _causal_parts(side: Side, hop: Hop, before: Hop | None) -> dict[str, np.ndarray]:
    mel, old = hop.vocoder[0], before.vocoder[0] if before else None
    if side.name == "pytorch" and old is not None:
        mel = mel[:, :, old.shape[2] :]
    return {"vocoder_mel_new": mel, "wav": hop.wav}


def _faded_parts(side: Side, hop: Hop, before: Hop | None) -> dict[str, np.ndarray]:
    from reference import streaming as reference

    mel, source = hop.vocoder
    kept, faded = (reference.KEPT_FRAMES, reference.KEPT_SAMPLES) if before else (0, 0)
    parts = {"vocoder_mel_new": mel[:, :, kept:]}
    if before:
        parts["vocoder_mel_kept"] = mel[:, :, :kept]
        parts["vocoder_source"] = np.zeros((1, 1, 0)) if source is None else source
        parts["wav_seam"] = hop.wav[:, :faded]
    parts["wav"] = hop.wav[:, faded:]
    return parts | dict(zip(("mel_cache", "source_cache", "speech_tail"), hop.cache, strict=False))


def _noise_goes_on(side: Side, hops: list[Hop], whole: np.ndarray, right: list[Hop] | None) -> Iterator[bool]:
    """Whether the noise of each hop is that of the samples whose turn it is: the reference begins anew with the mel."""
    done = 0
    for number, hop in enumerate(hops):
        noise = hop.vocoder[1]
        yield np.array_equal(noise, whole[:, done : done + noise.shape[1]].astype(noise.dtype))
        if side.name == "mlx":
            done = right[number].vocoder[1].shape[1] if right else done + noise.shape[1]


def _noise_fits(side: Side, hops: list[Hop], asked: Mapping[int, int]) -> Iterator[bool]:
    """Whether the noise of each hop is for the samples of the mel that is vocoded."""
    for number, hop in enumerate(hops):
        yield asked.get(number) == hop.vocoder[0].shape[2] * samples_per_frame(side.module.hift)


def outputs(
    hops: list[Hop],
    side: Side,
    whole: np.ndarray | None,
    asked: Mapping[int, int],
    goes_on: Sequence[bool],
    right: list[Hop] | None,
) -> Outputs:
    """Everything that is compared, by hop and part, and the hops themselves as details.

    Args:
        hops: of the stream.
        side: that made them.
        whole: the noise that a causal vocoder's is a part of; None for another vocoder's.
        asked: hop, from 0 -> for how many samples that one was given noise.
        goes_on: of every hop, whether a causal vocoder goes on from the state that it had left.
        right: the reference's hops, from whose state each of these goes on; None in a free run.
    """
    result, parts_of = Outputs(details=Stream(hops)), _faded_parts if whole is None else _causal_parts
    for number, (before, hop) in enumerate(zip([None, *hops], hops, strict=False), start=1):
        token, *mode = hop.flow
        parts = parts_of(side, hop, before)
        result.tensors |= {f"hop{number}.{part}": array for part, array in parts.items()}
        result.tokens[f"hop{number}.flow_token"] = token
        result.tokens[f"hop{number}.flow_mode"] = np.array([mode], np.int64)
    if whole is not None:
        for number, (hop, same) in enumerate(zip(hops, goes_on, strict=False), start=1):
            result.tokens[f"hop{number}.vocoder_state"] = np.array([[same]], np.int64)
            result.tokens[f"hop{number}.vocoder_final"] = np.array([[hop.final]], np.int64)
    fitting = _noise_fits(side, hops, asked) if whole is None else _noise_goes_on(side, hops, whole, right)
    for number, fits in enumerate(fitting, start=1):
        # whose turn it is nobody knows who has lost the state
        result.tokens[f"hop{number}.vocoder_noise"] = np.array([[fits or not all(goes_on[:number])]], np.int64)
    return result

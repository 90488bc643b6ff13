"""The vocoder in pieces: each piece starts a little before the last one ended, and is faded in."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.decoding.causal_vocoder import CausalVocoder
from mlx_cosyvoice.decoding.decoder import SourceNoise, Vocoder
from mlx_cosyvoice.vocoder import CausalHiFTGenerator, HiFTGenerator


@dataclass(frozen=True)
class VocoderTail:
    """The end of what has been vocoded, with which the next piece starts. The arrays are evaluated.

    Attributes:
        mel: [1, F, 80] float32, the last frames.
        source: [1, 480 F, 1] float32, the excitation of these frames.
        speech: [480 F] float32, their samples, which are not returned before they are faded into the next piece.
    """

    mel: mx.array
    source: mx.array
    speech: mx.array


def cross_fade(wav: mx.array, speech: mx.array, window: mx.array) -> mx.array:
    """Fade from `speech` to the start of `wav` (`cosyvoice.utils.common.fade_in_out`).

    Args:
        wav: [samples], at least as long as `speech`.
        speech: [L], what was said before about the same moments.
        window: [2 L]: the first half rises and weighs `wav`, the second half falls and weighs `speech`.

    Returns:
        [samples]; after the first L they are those of `wav`.
    """
    overlap = speech.shape[0]
    faded = wav[:overlap] * window[:overlap] + speech * window[overlap:]
    return mx.concatenate([faded, wav[overlap:]])


class StreamingVocoder:
    """HiFT piece by piece, as `cosyvoice.cli.model.CosyVoice2Model.token2wav` runs it.

    Args:
        hift: the vocoder.
        mel_frames: how many frames are vocoded twice, at the end of one piece and at the start of the next.
    """

    def __init__(self, hift: HiFTGenerator, *, mel_frames: int = 8) -> None:
        if mel_frames < 1:
            raise ValueError(f"mel_frames must be at least 1, not {mel_frames}")
        self.hift, self.mel_frames = hift, mel_frames
        self.overlap = mel_frames * hift.samples_per_frame
        # NumPy's: weighs the first sample with 0.08 and not 0, and the two halves do not add up to exactly 1
        self.window = mx.array(np.hamming(2 * self.overlap).astype(np.float32))

    def start(self) -> None:
        """Before the first piece there is no tail."""
        return None

    def step(
        self, tail: VocoderTail | None, mel: mx.array, noise: SourceNoise, *, final: bool
    ) -> tuple[mx.array, VocoderTail | None]:
        """Vocode the next piece.

        Args:
            tail: of the piece before; None for the first piece of an utterance.
            mel: [1, T, 80], the new frames; T may be 0 in a final piece.
            noise: called once, with the number of samples of this run.
            final: nothing comes after this piece.

        Returns:
            float32 samples: the new frames', less those held back for the next piece, plus those held back by the
            piece before; and the new tail, None after a final piece. Both evaluated.

        Raises:
            ValueError: a piece that is not final and, with the tail, has too few frames to hold any back.
        """
        if tail is not None:
            mel = mx.concatenate([tail.mel, mel], axis=1)
        frames = mel.shape[1]
        if not final and frames < self.mel_frames:
            raise ValueError(f"mel has {frames} frames: a piece that is not final needs {self.mel_frames} or more")
        if not frames:
            return mx.zeros((0,)), None
        wav, source = self._vocode(mel, tail, noise)
        if tail is not None:
            wav = cross_fade(wav, tail.speech, self.window)
        if final:
            mx.eval(wav)
            return wav, None
        spoken, tail = wav[: -self.overlap], self._tail(mel, source, wav)
        mx.eval(spoken, tail.mel, tail.source, tail.speech)
        return spoken, tail

    def _vocode(self, mel: mx.array, tail: VocoderTail | None, noise: SourceNoise) -> tuple[mx.array, mx.array]:
        """Samples [480 T] and source [1, 480 T, 1] of mel [1, T, 80]; the source goes on from the tail's."""
        rand_ini, sine_noise = noise(mel.shape[1] * self.hift.samples_per_frame)
        wav, source = self.hift(
            mel, rand_ini=rand_ini, sine_noise=sine_noise, cache_source=None if tail is None else tail.source
        )
        return wav[0], source

    def _tail(self, mel: mx.array, source: mx.array, wav: mx.array) -> VocoderTail:
        return VocoderTail(mel[:, -self.mel_frames :], source[:, -self.overlap :], wav[-self.overlap :])


def official_vocoder(hift: HiFTGenerator | CausalHiFTGenerator) -> Vocoder:
    """How upstream's `token2wav` runs a vocoder: a causal one needs no fade."""
    return CausalVocoder(hift) if isinstance(hift, CausalHiFTGenerator) else StreamingVocoder(hift)

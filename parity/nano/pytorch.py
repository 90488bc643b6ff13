"""The nano checkpoint spoken by the PyTorch reference, on the draws of the MLX model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlx_cosyvoice.audio import read_recording
from mlx_cosyvoice.audio.trim import trimmed
from parity.nano.tape import Tape
from parity.pair import Reference
from reference import features
from reference.sampling import RASSampler
from reference.streaming import Prompt, offline


class Reader:
    """The reference from a recording and a text to samples, by code of its own, but for what reads files."""

    def __init__(self, checkpoint: Path) -> None:
        self._reference = Reference(checkpoint)
        self.network = cache(lambda name: self._reference.component(name, "float32"))
        self.prompt = cache(self._prompt)
        for name in self._reference.family.networks:
            self.network(name)  # before anybody changes the files

    @torch.inference_mode()
    def _prompt(self, recording: Path) -> Prompt:
        """Of a recording without the silence at its ends."""
        read = trimmed(read_recording(recording))
        low, high = (torch.from_numpy(np.asarray(read.at(rate), np.float32)) for rate in (16000, 24000))
        token = self.network("speech_tokenizer")(features.log_mel_spectrogram(low)[None]).long()
        mel = features.mel_spectrogram(high).T[None]
        length = min(mel.shape[1] // 2, token.shape[1])
        fbank = features.mean_normalize(features.kaldi_fbank(low))[None]
        return Prompt(token[:, :length], mel[:, : 2 * length], self.network("campplus")(fbank))

    @torch.inference_mode()
    def tokens(self, recording: Path, transcript: str, text: str, tape: Tape) -> list[int]:
        """Speech tokens of a text as it is normalized, after a recording and its transcript."""
        encode = self.network("text_tokenizer").encode
        llm: Any = self.network("llm")
        sampler = RASSampler(llm.sampling, tape.uniforms(), llm.upstream_forbids)
        ids = (torch.tensor([encode(part)]) for part in (text, transcript))
        return list(llm.generate(*ids, self.prompt(recording).token, sampler))

    @torch.inference_mode()
    def wave(self, recording: Path, tokens: Sequence[int], tape: Tape) -> np.ndarray:
        """Samples [n] of tokens, at once."""
        token = torch.tensor([tokens])
        said = offline(self.network("flow"), self.network("hift"), token, self.prompt(recording), tape.torch_noise())
        return said[0].numpy()

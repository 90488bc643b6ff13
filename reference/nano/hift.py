"""Stage 6, the vocoder: its F0 predictor on measured F0, the rest on spectral losses, without a discriminator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reference.features import mel_spectrogram, slaney_filters
from reference.hift import HiFTGenerator
from reference.nano.corpus import Corpus
from reference.nano.pitch import pitch

#: Frames of a piece; 480 samples each.
PIECE, HOP = 32, 480
#: Sizes of the spectra that are compared; a quarter of it is the hop.
SPECTRA = (256, 512, 1024, 2048)
#: Magnitudes below this count as this: `flite` says nothing above 8 kHz, and there the logarithm would rule.
FLOOR = 2e-3
#: Weights of the losses, and the share of steps in which the source follows the predicted F0.
MEL_WEIGHT, F0_WEIGHT, PREDICTED = 1.0, 0.02, 0.5
#: Largest standard deviation of what is added to the mel, which the flow does not draw exactly either.
MEL_NOISE = 0.15
#: Where the F0 predictor begins: a mean in Hz, and the factor on what its last layer adds.
F0_MEAN, F0_FACTOR = 80.0, 30.0


def new_network(config: Mapping[str, Any]) -> HiFTGenerator:
    """An untrained vocoder whose F0 begins at that of a voice."""
    network = HiFTGenerator(config)
    with torch.no_grad():
        network.f0_predictor.classifier.weight *= F0_FACTOR
        network.f0_predictor.classifier.bias.fill_(F0_MEAN)
    return network


def magnitude(wave: Tensor, size: int) -> Tensor:
    """[B, samples] to [B, size / 2 + 1, frames]."""
    window = torch.hann_window(size)
    spectrum = torch.stft(wave, size, size // 4, window=window, return_complex=True)
    return (torch.view_as_real(spectrum).square().sum(-1) + 1e-9).sqrt()


def spectral_loss(wave: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Distances of magnitudes and of their logarithms at all sizes, and of mel bands."""
    total = wave.new_zeros(())
    for size in SPECTRA:
        mine, wanted = magnitude(wave, size), magnitude(true, size)
        total = total + (mine - wanted).norm() / wanted.norm()
        total = total + (mine.clamp(min=FLOOR).log() - wanted.clamp(min=FLOOR).log()).abs().mean()
    filters = slaney_filters(24000, 1024, 80, 8000.0).float()
    mine, wanted = ((filters @ magnitude(one, 1024)).clamp(min=1e-4).log() for one in (wave, true))
    return total / len(SPECTRA), (mine - wanted).abs().mean()


@dataclass(frozen=True)
class VocoderStage:
    """Its losses and its check, for `training.train`."""

    train: Corpus
    held_out: Mapping[str, Corpus]
    batch: int = 4
    checks: int = 8

    def losses(self, network: HiFTGenerator, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        mels: list[Tensor] = []
        waves, pitches = [], []
        while len(mels) < self.batch:
            (utterance,) = self.train.batch(1, rng)
            frames = 2 * utterance.tokens
            if frames < PIECE:
                continue
            start = int(rng.integers(frames - PIECE + 1))
            wave = self.train.array("wave", utterance)[:, 0]
            mels.append(self.train.array("mel", utterance)[start : start + PIECE].T)
            waves.append(wave[HOP * start : HOP * (start + PIECE)])
            pitches.append(pitch(wave)[start : start + PIECE])
        mel, true, f0 = torch.stack(mels), torch.stack(waves), torch.stack(pitches)
        mel = mel + MEL_NOISE * rng.random() * torch.randn_like(mel)
        predicted = network.f0_predictor(mel)
        f0_error = (predicted - f0).abs().mean()
        followed = predicted.detach() if rng.random() < PREDICTED else f0
        source = network.source(followed, torch.zeros(self.batch, 9), torch.randn(self.batch, HOP * PIECE, 9))
        spectrum, mel_error = spectral_loss(network.decode(mel, source), true)
        loss = spectrum + MEL_WEIGHT * mel_error + F0_WEIGHT * f0_error
        return {"loss": loss, "spectrum": spectrum, "mel": mel_error, "f0_hz": f0_error}

    def check(self, network: HiFTGenerator) -> dict[str, float]:
        """On whole utterances: the mean error of the mel, the median one of F0, and how often voicing is right."""
        errors, hertz, voicing = [], [], []
        for corpus in self.held_out.values():
            for utterance in corpus.utterances[:: max(1, len(corpus.utterances) // self.checks)]:
                mel, wave = corpus.array("mel", utterance), corpus.array("wave", utterance)[:, 0]
                spoken = speak(network, mel.T[None])
                errors.append(float((mel_spectrogram(spoken).T - mel).abs().mean()))
                true = pitch(wave)
                with torch.inference_mode():
                    found = network.f0_predictor(mel.T[None])[0]
                both = (true > 0) & (found > 10)
                hertz.append((true - found).abs()[both])
                voicing.append(((true > 0) == (found > 10)).float())
        return {
            "held mel": sum(errors) / len(errors),
            "held f0_hz": float(torch.cat(hertz).median()) if sum(map(len, hertz)) else float("nan"),
            "held voicing": float(torch.cat(voicing).mean()),
        }


def speak(network: HiFTGenerator, mel: Tensor, seed: int = 0) -> Tensor:
    """mel [1, 80, T] to samples [480 T] at 24 kHz."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, HOP * mel.shape[2], 9, generator=generator)
    return network.inference(mel, rand_ini=torch.zeros(1, 9), sine_noise=noise)[0][0]

"""Runs of each network on drawn inputs, as long and as loud as those of a short utterance."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from mlx_cosyvoice.flow.cfm import with_unconditioned

#: Of the recording that is continued, and of what is said; each has 25 tokens.
SECONDS = (2, 1)
TOKENS_PER_SECOND = 25
#: Times between noise (0) and speech (1) at which the flow's solver asks for a velocity.
TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)


def _ids(random: np.random.Generator, count: int, size: int) -> mx.array:
    return mx.array(random.integers(0, size, (1, count)).astype(np.int32))


def _normal(random: np.random.Generator, *shape: int, mean: float = 0, std: float = 1) -> mx.array:
    return mx.array((random.standard_normal(shape) * std + mean).astype(np.float32))


def _mel(random: np.random.Generator, frames: int, channels: int) -> mx.array:
    """The logarithm of a mel spectrogram, of the level and spread that speech has."""
    return _normal(random, 1, frames, channels, mean=-6, std=2)


def llm(network: Any, config: Any, random: np.random.Generator) -> None:
    """A prompt with its text and speech, and a text."""
    text, speech = config.llm.qwen.vocab_size, config.llm.speech_token_size
    counts = [seconds * TOKENS_PER_SECOND // 3 for seconds in SECONDS]
    words, spoken = (random.integers(0, text, count).tolist() for count in counts)
    heard = random.integers(0, speech, sum(SECONDS) * TOKENS_PER_SECOND).tolist()
    mx.eval(network.step(network.prompt(spoken, words, heard), network.make_cache()))


def flow(network: Any, config: Any, random: np.random.Generator) -> None:
    """A voice, and tokens that it says, at all times at once: so every weight is read once."""
    prompt, said = (seconds * TOKENS_PER_SECOND for seconds in SECONDS)
    ratio, channels = config.flow.token_mel_ratio, config.flow.output_size
    tokens = [_ids(random, count, config.flow.vocab_size) for count in (said, prompt)]
    feat = _mel(random, ratio * prompt, channels)
    embedding = _normal(random, 1, config.flow.spk_embed_dim)
    given = network.encode(*tokens, feat, embedding, streaming=False, finalize=True)
    # the guidance also asks for the velocity without any of these
    mu, spks, cond = (mx.repeat(with_unconditioned(each), len(TIMES), axis=0) for each in given)
    frames = ratio * (prompt + said)
    noise, mel = _normal(random, 1, frames, channels), _mel(random, frames, channels)
    times = mx.array(2 * TIMES)
    x = (1 - times[:, None, None]) * noise + times[:, None, None] * mel
    estimator = network.decoder.estimator
    mx.eval(estimator(x.astype(estimator.dtype), mu, times, spks, cond, mask=None))


def vocoder(network: Any, config: Any, random: np.random.Generator) -> None:
    """A second of a mel."""
    frames, sines = TOKENS_PER_SECOND * config.flow.token_mel_ratio, config.hift.nb_harmonics + 1
    phases = mx.array(random.random((1, sines)).astype(np.float32))
    noise = _normal(random, 1, frames * network.samples_per_frame, sines)
    mx.eval(network(_mel(random, frames, config.hift.in_channels), rand_ini=phases, sine_noise=noise))


def speaker_encoder(network: Any, config: Any, random: np.random.Generator) -> None:
    """The features of a recording, 100 frames a second."""
    mx.eval(network(_normal(random, 1, 100 * SECONDS[0], config.campplus.feat_dim, std=3)))


def speech_tokenizer(network: Any, config: Any, random: np.random.Generator) -> None:
    """The features of a recording, 100 frames a second; they lie about -1..1.5."""
    mx.eval(network(_normal(random, 1, 100 * SECONDS[0], config.speech_tokenizer.n_mels, std=0.5)))

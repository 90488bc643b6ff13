"""Runs of each network on drawn inputs, as long and as loud as those of a short utterance."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

#: Of the recording that is continued, and of what is said; each has 25 tokens.
SECONDS = (3, 2)
TOKENS_PER_SECOND = 25
#: Of the flow's solver. The official ten see the same network at more times between noise and speech.
EULER_STEPS = 3


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
    counts = [seconds * TOKENS_PER_SECOND // 4 for seconds in SECONDS]
    words, spoken = (random.integers(0, text, count).tolist() for count in counts)
    heard = random.integers(0, speech, sum(SECONDS) * TOKENS_PER_SECOND).tolist()
    mx.eval(network.step(network.prompt(spoken, words, heard), network.make_cache()))


def flow(network: Any, config: Any, random: np.random.Generator) -> None:
    """A voice, and tokens that it says."""
    prompt, said = (seconds * TOKENS_PER_SECOND for seconds in SECONDS)
    ratio, channels = config.flow.token_mel_ratio, config.flow.output_size
    tokens = [_ids(random, count, config.flow.vocab_size) for count in (said, prompt)]
    feat = _mel(random, ratio * prompt, channels)
    embedding = _normal(random, 1, config.flow.spk_embed_dim)
    noise = _normal(random, 1, ratio * (prompt + said), channels)
    network(*tokens, feat, embedding, streaming=False, finalize=True, n_timesteps=EULER_STEPS, noise=noise)


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

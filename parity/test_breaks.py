"""Parity can fail: each stage of the MLX model is broken once on purpose, and the layer table shows where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import pytest

from mlx_cosyvoice import audio
from mlx_cosyvoice.model import SpeechModel
from mlx_parity.compare import Verdict
from parity.pair import Pair
from parity.run import run
from parity.stages import Settings


@contextmanager
def _changed(target: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(target, name)
    setattr(target, name, value)
    try:
        yield
    finally:
        setattr(target, name, original)


def _text_tokenizer(model: SpeechModel) -> Any:
    encode = model.text_tokenizer.encode  # type: ignore[union-attr]
    return _changed(model.text_tokenizer, "encode", lambda text: encode(" " + text))


def _audio_features(model: SpeechModel) -> Any:
    fbank = audio.kaldi_fbank
    return _changed(audio, "kaldi_fbank", lambda wave: fbank(wave) * 2)


def _speech_tokenizer(model: SpeechModel) -> Any:
    block = model.speech_tokenizer.encoder.blocks[1].attn_ln  # type: ignore[union-attr]
    return _changed(block, "eps", 1e-2)


def _speaker_encoder(model: SpeechModel) -> Any:
    norm = model.campplus.xvector.block2.tdnnd7.nonlinear1.batchnorm  # type: ignore[union-attr]
    return _changed(norm, "bias", mx.zeros_like(norm.bias))


def _llm(model: SpeechModel) -> Any:
    attention = model.llm.llm.model.model.layers[1].self_attn  # type: ignore[union-attr]
    return _changed(attention.k_proj, "bias", mx.zeros_like(attention.k_proj.bias))


def _flow_encoder(model: SpeechModel) -> Any:
    attention = model.flow.encoder.up_encoders[2].self_attn  # type: ignore[union-attr]
    return _changed(attention, "pos_bias_u", attention.pos_bias_v)


def _flow_decoder(model: SpeechModel) -> Any:
    conv = model.flow.decoder.estimator.mid_blocks[1][0].block2.block[0]  # type: ignore[union-attr]
    return _changed(conv, "pad", (0, 2))


def _vocoder(model: SpeechModel) -> Any:
    snake = model.hift.resblocks[4].activations1[1]  # type: ignore[union-attr]
    return _changed(snake, "alpha", snake.alpha * 2)


#: Stage -> how it is broken, and the first layer that the table must show as wrong.
BREAKS = {
    "text_tokenizer": (_text_tokenizer, "text_token"),
    "audio_features": (_audio_features, "fbank"),
    "speech_tokenizer": (_speech_tokenizer, "speech_tokenizer.encoder.blocks.1.attn_ln"),
    "speaker_encoder": (_speaker_encoder, "campplus.xvector.block2.tdnnd7.nonlinear1.batchnorm"),
    "llm": (_llm, "llm.llm.model.model.layers.1.self_attn.k_proj"),
    "flow_encoder": (_flow_encoder, "flow.encoder.up_encoders.2.self_attn.linear_out"),
    "flow_decoder": (_flow_decoder, "flow.decoder.estimator.mid_blocks.1.0.block2.block.0"),
    "vocoder": (_vocoder, "hift.resblocks.4.activations1.1"),
}


@pytest.mark.parametrize("stage", BREAKS)
def test_a_broken_stage_diverges_where_it_was_broken(pair: Pair, inputs: dict[str, Any], stage: str) -> None:
    break_it, expected = BREAKS[stage]
    settings = Settings(llm_steps=8, n_timesteps=2, sampler_rows=40)
    second = {"wave16": inputs["wave16"][:16000], "wave24": inputs["wave24"][:24000]}
    with break_it(pair.model):
        report = run(pair, inputs | second, stages=[stage], settings=settings)
    assert report.verdict is Verdict.DIVERGED
    worst = report.stages[0].worst_layer
    assert worst is not None
    assert worst.path == expected

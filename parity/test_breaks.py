"""Parity can fail: each stage of the MLX model is broken once on purpose, and the layer table shows where."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import pytest

from mlx_cosyvoice import audio
from mlx_parity.compare import Verdict
from parity.faults.base import at, patched
from parity.pair import Pair
from parity.run import run
from parity.stages import Settings

KEYS = "llm.llm.model.model.layers.1.self_attn.k_proj"
SPEAKERS_NORM = "campplus.xvector.block2.tdnnd7.nonlinear1.batchnorm"
TOKENIZERS_NORM = "speech_tokenizer.encoder.blocks.1.attn_ln"
RELATIVE = "flow.encoder.up_encoders.2.self_attn"
CONVOLUTION = "flow.decoder.estimator.mid_blocks.1.0.block2.block.0"
SNAKE = "hift.resblocks.4.activations1.1"


def _text(pair: Pair) -> Any:
    encode = pair.model.text_tokenizer.encode  # type: ignore[union-attr]
    return patched(pair.model.text_tokenizer, "encode", lambda text: encode(" " + text))


#: Stage -> how it is broken, and the first layer that the table must show as wrong.
BREAKS = {
    "text_tokenizer": (at().by(_text), "text_token"),
    "audio_features": (at().wraps(audio, "kaldi_fbank", lambda fbank, wave: fbank(wave) * 2), "fbank"),
    "speech_tokenizer": (at(TOKENIZERS_NORM).sets(eps=1e-2), TOKENIZERS_NORM),
    "speaker_encoder": (at(SPEAKERS_NORM).sets(bias=mx.zeros_like), SPEAKERS_NORM),
    "llm": (at(KEYS).sets(bias=mx.zeros_like), KEYS),
    "flow_encoder": (at(RELATIVE).sets(pos_bias_u=mx.zeros_like), f"{RELATIVE}.linear_out"),
    "flow_decoder": (at(CONVOLUTION).sets(pad=(0, 2)), CONVOLUTION),
    "vocoder": (at(SNAKE).sets(alpha=lambda alpha: alpha * 2), SNAKE),
}


@pytest.mark.parametrize("stage", BREAKS)
def test_a_broken_stage_diverges_where_it_was_broken(pair: Pair, inputs: dict[str, Any], stage: str) -> None:
    break_it, expected = BREAKS[stage]
    settings = Settings(llm_steps=8, n_timesteps=2, sampler_rows=40)
    second = {"wave16": inputs["wave16"][:16000], "wave24": inputs["wave24"][:24000]}
    with break_it.switch(pair):
        report = run(pair, inputs | second, stages=[stage], settings=settings)
    assert report.verdict is Verdict.DIVERGED
    worst = report.stages[0].worst_layer
    assert worst is not None
    assert worst.path == expected

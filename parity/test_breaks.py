"""Parity can fail: each stage of the MLX model is broken once on purpose, and the layer table shows where."""

from __future__ import annotations

from typing import Any

import pytest

from mlx_cosyvoice.families import COSYVOICE2
from mlx_parity.compare import Verdict
from parity.faults import choose
from parity.inputs import shortened
from parity.pair import Pair
from parity.run import run
from parity.stages import Settings

#: A mistake in each stage, and the first layer that the table must show as wrong.
BREAKS = {
    "text-prefix-space": "text_token",
    "fbank-pre-emphasis": "fbank",
    "tokenizer-norm-epsilon": "speech_tokenizer.encoder.blocks.0.attn_ln",
    "batchnorm-epsilon": "campplus.xvector.dense.nonlinear.batchnorm",
    "qkv-bias": "llm.llm.model.model.layers.0.self_attn.q_proj",
    "pos-bias-swapped": "flow.encoder.encoders.0.self_attn.linear_out",
    "conv-kernel-reversed": "flow.decoder.estimator.down_blocks.0.2",
    "snake-alpha-missing": "hift.source_resblocks.0.activations1.0",
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_stage_diverges_where_it_was_broken(pair: Pair, inputs: dict[str, Any], name: str) -> None:
    if pair.model.family is not COSYVOICE2:
        pytest.skip("these mistakes are made in modules of CosyVoice2")
    (fault,) = choose([name])
    settings = Settings(llm_steps=8, n_timesteps=2, sampler_rows=40)
    with fault.switch(pair):
        report = run(pair, shortened(inputs, 1), stages=[fault.stage], settings=settings)
    assert report.verdict is Verdict.DIVERGED
    worst = report.stages[0].worst_layer
    assert worst is not None
    assert worst.path == BREAKS[name]

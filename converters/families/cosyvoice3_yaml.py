"""What `cosyvoice3.yaml` may say, where that is not what `cosyvoice2.yaml` may."""

from __future__ import annotations

from dataclasses import replace

from converters.families import cosyvoice2_yaml as before
from converters.yaml_schema import Schema
from mlx_cosyvoice.config import CausalHiFTConfig, DiTCFMConfig, DiTConfig, DiTFlowConfig, PreLookaheadConfig
from mlx_cosyvoice.families.cosyvoice3 import COSYVOICE3

ESTIMATOR = Schema(
    "cosyvoice.flow.DiT.dit.DiT",
    DiTConfig,
    default={"long_skip_connection": False},
    ignored=("dropout",),
)

FLOW = replace(
    before.FLOW,
    target="cosyvoice.flow.flow.CausalMaskedDiffWithDiT",
    config=DiTFlowConfig,
    children={
        "pre_lookahead_layer": Schema("cosyvoice.transformer.upsample_encoder.PreLookaheadLayer", PreLookaheadConfig),
        "decoder": replace(
            before.DECODER, config=DiTCFMConfig, children={**before.DECODER.children, "estimator": ESTIMATOR}
        ),
    },
)

HIFT = replace(
    before.HIFT,
    target="cosyvoice.hifigan.generator.CausalHiFTGenerator",
    config=CausalHiFTConfig,
    children={
        **before.HIFT.children,
        "f0_predictor": replace(
            before.HIFT.children["f0_predictor"], target="cosyvoice.hifigan.f0_predictor.CausalConvRNNF0Predictor"
        ),
    },
)

ROOT = replace(
    before.ROOT,
    children={
        **before.ROOT.children,
        "llm": replace(before.LLM, target="cosyvoice.llm.llm.CosyVoice3LM"),
        "flow": FLOW,
        "hift": HIFT,
        "get_tokenizer": replace(
            before.TOKENIZER, fixed={**before.TOKENIZER.fixed, "version": "cosyvoice3"}, default={}
        ),
        "feat_extractor": before.features(COSYVOICE3.mel),
    },
)

"""CosyVoice3's official checkpoints, where they are not as CosyVoice2's."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from converters.families import cosyvoice2 as before
from converters.families.cosyvoice3_yaml import ROOT
from converters.families.declaration import Official, Shape
from mlx_cosyvoice.config import CosyVoice3Config
from mlx_cosyvoice.families.cosyvoice3 import COSYVOICE3
from mlx_cosyvoice.families.cosyvoice3_tokens import SPEECH_IDS


def _flow(config: CosyVoice3Config) -> dict[str, Shape]:
    layer, dit = config.flow.pre_lookahead_layer, config.flow.decoder.estimator
    inputs = 2 * dit.mel_dim + dit.mu_dim + dit.spk_dim
    return {
        **before.stage_shapes(config),
        "pre_lookahead_layer.conv1.weight": (layer.channels, layer.in_channels, layer.pre_lookahead_len + 1),
        "decoder.estimator.input_embed.proj.weight": (dit.dim, inputs),
        "decoder.estimator.rotary_embed.inv_freq": (dit.dim_head // 2,),
        "decoder.estimator.transformer_blocks.0.attn.to_q.weight": (dit.heads * dit.dim_head, dit.dim),
        "decoder.estimator.transformer_blocks.0.ff.ff.0.0.weight": (dit.ff_mult * dit.dim, dit.dim),
        "decoder.estimator.proj_out.weight": (dit.out_channels, dit.dim),
    }


def _hift(config: CosyVoice3Config) -> dict[str, Shape]:
    return before.hift_shapes(config, conv_pre=config.hift.conv_pre_look_right + 1, f0=4)


FLOW = replace(before.FLOW, anchors=("pre_lookahead_layer.conv1.weight", "input_embedding.weight"), shapes=_flow)

COSYVOICE3_OFFICIAL = Official(
    COSYVOICE3,
    hub="FunAudioLLM/Fun-CosyVoice3-0.5B-2512",
    schema=ROOT,
    origins={
        "llm": replace(before.LLM, shapes=partial(before.llm_shapes, ids=SPEECH_IDS)),
        "flow": FLOW,
        "hift": replace(before.HIFT, prefix="", shapes=_hift),  # as published, and `generator.` where it was trained
        "campplus": before.CAMPPLUS,
        "speech_tokenizer": before.SPEECH_TOKENIZER,
    },
    pairs=before.pairs,
)

"""Mistakes in what is stored of a CosyVoice3: fields and tensors."""

from __future__ import annotations

import mlx.core as mx

from parity.faults.base import Mistakes, Planted, at, exchanged
from parity.faults.files import field

DIT = "flow.decoder.estimator"
BLOCK, CONVOLUTIONS = f"{DIT}.transformer_blocks.1", f"{DIT}.input_embed.conv_pos_embed"


def _swapped(*paths: str) -> Planted:
    """Two modules have each other's weight."""
    place = at(*paths, kind="weights")
    return place.by(lambda pair: exchanged([(module, "weight") for module in place.modules(pair)]))


LLM: Mistakes = {
    "stored-mix: Text and speech are mixed 5 to 14.": field("llm.mix_ratio", (5, 14)),
    "stored-special-rows: The rows of sos and of the end of speech are exchanged.": at(
        "llm.speech_embedding", kind="weights"
    ).sets(weight=lambda own: mx.concatenate([own[:6561], own[6562:6563], own[6561:6562], own[6563:]])),
}
FLOW: Mistakes = {
    "stored-heads: The DiT is said to have twice the heads.": field(f"{DIT}.heads", 4),
    "stored-chunk: Chunks are said to have 25 frames.": field(f"{DIT}.static_chunk_size", 25),
    "stored-cfg-rate: The guidance is said to have a rate of 0.5.": field("flow.decoder.inference_cfg_rate", 0.5),
    "stored-lookahead: The layer before mu is said to look at four tokens.": field(
        "flow.pre_lookahead_layer.pre_lookahead_len", 4
    ),
    "stored-queries-as-keys: Queries and keys of a block are exchanged.": _swapped(
        f"{BLOCK}.attn.to_q", f"{BLOCK}.attn.to_k"
    ),
    "stored-blocks-exchanged: Two blocks have each other's projection of the time.": _swapped(
        f"{DIT}.transformer_blocks.0.attn_norm.linear", f"{BLOCK}.attn_norm.linear"
    ),
    "stored-position-convolutions: The two convolutions of positions are exchanged.": _swapped(
        f"{CONVOLUTIONS}.conv1.0", f"{CONVOLUTIONS}.conv2.0"
    ),
    "stored-bias-missing: The last projection has no bias.": at(f"{DIT}.proj_out", kind="weights").sets(
        bias=mx.zeros_like
    ),
}
HIFT: Mistakes = {
    "stored-look-right: conv_pre is said to look at three frames.": field("hift.conv_pre_look_right", 3),
    "stored-f0-layers: Two layers of the f0 predictor are exchanged.": _swapped(
        "hift.f0_predictor.condnet.2", "hift.f0_predictor.condnet.4"
    ),
    "stored-f0-gain: The gain of a layer of the f0 predictor stays 1.": at(
        "hift.f0_predictor.condnet.6", kind="weights"
    ).sets(gain=mx.ones_like),
    "stored-ups-transposed: The kernel of an upsampling is reversed in time, as that of a transposed convolution.": at(
        "hift.ups.0", kind="weights"
    ).sets(weight=lambda own: own[:, ::-1]),
}

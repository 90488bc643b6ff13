"""Mistakes in what is stored of a CosyVoice3: fields and tensors."""

from __future__ import annotations

import mlx.core as mx

from parity.faults.base import Catalogue, Context
from parity.faults.files import field
from parity.pair import Pair

LLM, FLOW, HIFT = (Catalogue(stage) for stage in ("llm", "flow_encoder", "vocoder"))
CATALOGUES = (LLM, FLOW, HIFT)

DIT = "flow.decoder.estimator"

field(LLM, "stored-mix", "Text and speech are mixed 5 to 14.", "llm.mix_ratio", (5, 14))
field(HIFT, "stored-look-right", "conv_pre is said to look at three frames.", "hift.conv_pre_look_right", 3)
field(FLOW, "stored-heads", "The DiT is said to have twice the heads.", f"{DIT}.heads", 4)
field(FLOW, "stored-chunk", "Chunks are said to have 25 frames.", f"{DIT}.static_chunk_size", 25)
field(FLOW, "stored-cfg-rate", "The guidance is said to have a rate of 0.5.", "flow.decoder.inference_cfg_rate", 0.5)
field(
    FLOW,
    "stored-lookahead",
    "The layer before mu is said to look at four tokens.",
    "flow.pre_lookahead_layer.pre_lookahead_len",
    4,
)


class _Swapped:
    """Exchanges the same parameter of two modules while it is entered; twice is back again."""

    def __init__(self, first: object, second: object) -> None:
        self.pair = first, second

    def __enter__(self) -> None:
        first, second = self.pair
        first.weight, second.weight = second.weight, first.weight  # type: ignore[attr-defined]

    def __exit__(self, *error: object) -> None:
        self.__enter__()


def _swapped(catalogue: Catalogue, name: str, mistake: str, *paths: str) -> None:
    """A fault in which two modules have each other's weight."""
    place = catalogue.at(*paths, kind="weights")

    def switch(pair: Pair) -> Context:
        return _Swapped(*place.modules(pair))

    place.add(name, mistake, switch)


BLOCK = f"{DIT}.transformer_blocks.1"
_swapped(
    FLOW,
    "stored-queries-as-keys",
    "Queries and keys of a block are exchanged.",
    f"{BLOCK}.attn.to_q",
    f"{BLOCK}.attn.to_k",
)
_swapped(
    FLOW,
    "stored-blocks-exchanged",
    "Two blocks have each other's projection of the time.",
    f"{DIT}.transformer_blocks.0.attn_norm.linear",
    f"{BLOCK}.attn_norm.linear",
)
_swapped(
    FLOW,
    "stored-position-convolutions",
    "The two convolutions of positions are exchanged.",
    *(f"{DIT}.input_embed.conv_pos_embed.conv{number}.0" for number in (1, 2)),
)
_swapped(
    HIFT,
    "stored-f0-layers",
    "Two layers of the f0 predictor are exchanged.",
    "hift.f0_predictor.condnet.2",
    "hift.f0_predictor.condnet.4",
)
HIFT.at("hift.f0_predictor.condnet.6", kind="weights").setting(
    "stored-f0-gain", "The gain of a layer of the f0 predictor stays 1.", gain=mx.ones_like
)
HIFT.at("hift.ups.0", kind="weights").setting(
    "stored-ups-transposed",
    "The kernel of an upsampling is reversed in time, as that of a transposed convolution.",
    weight=lambda own: own[:, ::-1],
)
LLM.at("llm.speech_embedding", kind="weights").setting(
    "stored-special-rows",
    "The rows of sos and of the end of speech are exchanged.",
    weight=lambda own: mx.concatenate([own[:6561], own[6562:6563], own[6561:6562], own[6563:]]),
)
FLOW.at("flow.decoder.estimator.proj_out", kind="weights").setting(
    "stored-bias-missing", "The last projection has no bias.", bias=mx.zeros_like
)

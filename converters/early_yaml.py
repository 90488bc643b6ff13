"""The YAML of CosyVoice2's first publication, `cosyvoice.yaml`, in the terms of today's.

It says less: what was added later stands there with the values that the official repository gave it for the same
network. The decoder was one class with that of CosyVoice 1, distinguished by `causal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.yaml_references import Node

CHUNK_TOKENS, TOKEN_RATE, MEL_RATIO = 25, 25, 2

EARLY_ESTIMATOR = "cosyvoice.flow.decoder.ConditionalDecoder"
ESTIMATOR = "cosyvoice.flow.decoder.CausalConditionalDecoder"


def is_early(content: Mapping[str, Any]) -> bool:
    """Whether it is a YAML of CosyVoice2 from before the decoder had a class of its own."""
    estimator = _at(content, "flow", "decoder", "estimator")
    return (
        isinstance(estimator, Node)
        and estimator.target == EARLY_ESTIMATOR
        and _arguments(estimator).get("causal") is True
    )


def completed(content: dict[str, Any]) -> dict[str, Any]:
    """The content with what later YAMLs say besides, if it is an early one; else as it is."""
    if not is_early(content):
        return content
    estimator = _at(content, "flow", "decoder", "estimator")
    arguments = {name: value for name, value in estimator.arguments.items() if name != "causal"}
    later = {"static_chunk_size": CHUNK_TOKENS * MEL_RATIO, "num_decoding_left_chunks": -1}
    decoder = _with(_at(content, "flow", "decoder"), estimator=Node(estimator.tag, ESTIMATOR, {**later, **arguments}))
    flow = _with(content["flow"], decoder=decoder)
    encoder = _arguments(flow).get("encoder")
    if isinstance(encoder, Node):
        flow = _with(flow, encoder=_with(encoder, defaults={"static_chunk_size": CHUNK_TOKENS}))
    flow = _with(flow, defaults={"input_frame_rate": TOKEN_RATE, "token_mel_ratio": MEL_RATIO})
    result = {"token_frame_rate": TOKEN_RATE, "token_mel_ratio": MEL_RATIO, **content, "flow": flow}
    if isinstance(content.get("llm"), Node):
        result["llm"] = _with(content["llm"], defaults={"mix_ratio": [5, 15]})
    return result


def _arguments(node: Node) -> dict[str, Any]:
    return node.arguments if isinstance(node.arguments, dict) else {}


def _at(content: Mapping[str, Any], key: str, *inner: str) -> Any:
    found = content.get(key)
    for name in inner:
        found = _arguments(found).get(name) if isinstance(found, Node) else None
    return found


def _with(node: Node, *, defaults: Mapping[str, Any] | None = None, **replaced: Any) -> Node:
    return Node(node.tag, node.target, {**(defaults or {}), **_arguments(node), **replaced})

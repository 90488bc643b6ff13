"""What the official checkpoint of each family consists of, and which network of this package holds which file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from reference import campplus, flow, hift, llm, speech_tokenizer
from reference.text_tokenizer import COSYVOICE2_TOKENS


@dataclass(frozen=True)
class Network:
    """A component.

    Attributes:
        build: makes it for a configuration of its official field names.
        file: its weights.
        prefix: what the official trainer puts before every key.
        tied: key -> the one whose tensor it shares, so that some files hold it once.
    """

    build: Callable[[Mapping[str, Any]], torch.nn.Module]
    file: str
    prefix: str = ""
    tied: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """A family.

    Attributes:
        yaml: what describes its networks.
        networks: by official name.
        tokens: those that it adds to the text tokenizer, in order.
        mel_fmax: where the mel of the prompt ends, in Hz; None is the Nyquist frequency.
    """

    yaml: str
    networks: Mapping[str, Network]
    tokens: tuple[str, ...]
    mel_fmax: float | None


COSYVOICE2 = Family(
    "cosyvoice2.yaml",
    {
        "llm": Network(llm.build, "llm.pt", tied={"llm.model.lm_head.weight": "llm.model.model.embed_tokens.weight"}),
        "flow": Network(flow.build, "flow.pt"),
        "hift": Network(hift.build, "hift.pt", prefix="generator."),
        "campplus": Network(campplus.build, "campplus.onnx"),
        "speech_tokenizer": Network(speech_tokenizer.build, "speech_tokenizer_v2.onnx"),
    },
    COSYVOICE2_TOKENS,
    8000.0,
)

#: By the `model_type` of converted models.
FAMILIES: dict[str, Family] = {"cosyvoice2": COSYVOICE2}

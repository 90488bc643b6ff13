"""Every network but the language model on either side, at the golden sizes, with the golden weights."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import pytest

from mlx_cosyvoice.config import SpeakerEncoderConfig
from mlx_cosyvoice.flow import CausalMaskedDiffWithDiT, CausalMaskedDiffWithXvec
from mlx_cosyvoice.nn import load_official
from mlx_cosyvoice.speaker_encoder import CAMPPlus
from mlx_cosyvoice.speech_tokenizer import S3TokenizerV2
from mlx_cosyvoice.vocoder import CausalHiFTGenerator, HiFTGenerator
from mlx_parity.sides import Side
from mlx_parity.sides.pytorch import TorchSide
from mlx_parity.taps import tap
from parity.sides.mlx import MLXSide
from reference import campplus, causal_hift, flow, flow_dit, hift, speech_tokenizer
from tests.support import flow as flow_support
from tests.support import flow_dit as flow_dit_support
from tests.support import hift as hift_support
from tests.support import hift3 as hift3_support
from tests.support.golden import ProbeRecorder, as_torch, golden, recipe_state_dict
from tests.support.tokens import SIZES, SIZES3

sides = pytest.mark.parametrize("side", ["pytorch", "mlx"])
sizes = pytest.mark.parametrize("size", ["tiny", pytest.param("full", marks=pytest.mark.slow)])

#: Component, with a 3 behind it if CosyVoice3's -> its class in MLX, how the reference builds it, its configurations by
#: size.
NETWORKS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "campplus": (CAMPPlus, campplus.build, {"": SpeakerEncoderConfig()}),
    "speech_tokenizer": (S3TokenizerV2, speech_tokenizer.build, SIZES),
    "speech_tokenizer3": (S3TokenizerV2, speech_tokenizer.build, SIZES3),
    "flow": (CausalMaskedDiffWithXvec, flow.build, flow_support.CONFIGS),
    "flow3": (CausalMaskedDiffWithDiT, flow_dit.build, flow_dit_support.CONFIGS),
    "hift": (HiFTGenerator, hift.build, hift_support.CONFIGS),
    "hift3": (CausalHiFTGenerator, causal_hift.build, hift3_support.CONFIGS),
}


@cache
def network(side: str, component: str, size: str = "") -> Side:
    """The component on the side of that name, in float32."""
    cls, build, configs = NETWORKS[component]
    name = f"{component}.{size}" if size else component
    stage = component.removesuffix("3")
    weights = recipe_state_dict(name, f"{stage}." if stage in ("campplus", "speech_tokenizer") else "")
    if side == "pytorch":
        module = build(dataclasses.asdict(configs[size]))
        module.load_state_dict(as_torch(weights), strict=True)
        return TorchSide(module)
    # what the converter hands over beside the official state dict
    added = {"decoder.rand_noise": flow.fixed_noise(80).numpy()} if stage == "flow" else {}
    return MLXSide(load_official(cls(configs[size]), {**weights, **added}))


def recorder(side: Side, component: str, size: str = "") -> tuple[ProbeRecorder, Any]:
    """A recorder of the golden probes, and the context in which it listens."""
    file = golden(f"{component}.{size}" if size else component)
    recording = ProbeRecorder(file.shapes)
    return recording, tap(side, recording, f"{component.removesuffix('3')}.")

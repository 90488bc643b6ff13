"""What packing a model's weights changed: the reference with those weights against itself with the official ones.

Both in float32. That is no parity, in which both sides have the same weights, and says nothing of our code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import mlx.nn as nn
import numpy as np
import torch

from mlx_cosyvoice.quantize import Quantization, quantized_modules, unpacked_weight
from mlx_parity.compare import Difference, as_json, compare
from mlx_parity.sides.pytorch import TorchSide
from mlx_parity.stage import Given
from parity.pair import Pair, Reference
from parity.stages import STAGES, Outputs, Settings


def is_quantized(pair: Pair, component: str) -> bool:
    """Whether a component has packed weights."""
    model = getattr(pair.model, component, None) if component else None
    return isinstance(model, nn.Module) and bool(quantized_modules(model))


@dataclass
class QuantizationDrift:
    """What packing changed in one component.

    `weight_error` is the relative root mean square over all packed weights. `outputs` maps what was compared to how
    far it is off; `measures` are those of the language model: `kl` (nats), `top1_agreement`, `token_agreement`.
    """

    component: str
    bits: int
    group_size: int
    layers: int
    weight_error: float
    outputs: dict[str, Difference] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)

    def summary(self) -> str:
        """One line for people."""
        parts = [f"weights {100 * self.weight_error:.2g} % off"]
        if self.measures:
            parts.append(f"KL {self.measures['kl']:.3g} nats a token")
            parts.append(f"same most likely token in {100 * self.measures['top1_agreement']:.0f} %")
            parts.append(f"same token drawn in {100 * self.measures['token_agreement']:.0f} %")
        names = {"log_probs": "log-probabilities", "mel": "mel", "wav": "wave"}
        parts += [
            f"{names[name]} rel RMS {d.relative_rms:.3g} (SNR {d.snr_db:.1f} dB)" for name, d in self.outputs.items()
        ]
        head = f"{self.component}, {self.bits} bits in groups of {self.group_size} ({self.layers} layers)"
        return f"{head}: {', '.join(parts)}"

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in as_json(asdict(self)).items() if name != "component" and value != {}}


def quantization_drift(
    pair: Pair,
    arrays: Mapping[str, Any],
    stages: set[str],
    settings: Settings,
    seed: int = 0,
    progress: Callable[[str], None] = lambda message: None,
) -> list[QuantizationDrift]:
    """What packing changed, in each packed component whose last stage is among `stages`.

    Args:
        pair: both models.
        arrays: everything that the reference made in a run, by name.
        stages: names of those that were run.
        settings: of the run.
        seed: of its tape.
        progress: called with what is going on.
    """
    measured = []
    for component, last, measure in (("llm", "llm", _llm), ("flow", "flow_decoder", _flow)):
        if last in stages and is_quantized(pair, component):
            progress(f"{component}: what quantizing changed")
            drift = _weights(pair, component)
            with torch.inference_mode():
                measure(pair, arrays, settings, seed, drift)
            measured.append(drift)
    return measured


def _weights(pair: Pair, component: str) -> QuantizationDrift:
    _, official = pair.original.official_tensors(component)
    modules = quantized_modules(getattr(pair.model, component))
    error = total = 0.0
    kinds = [Quantization(module.bits, module.group_size) for module in modules.values()]
    for path, module in modules.items():
        weight = official(f"{path}.weight").astype(np.float64)
        error += float(np.square(np.array(unpacked_weight(module)) - weight).sum())
        total += float(np.square(weight).sum())
    usual = max(set(kinds), key=kinds.count)
    relative = (error / total) ** 0.5 if total else 0.0
    return QuantizationDrift(component, usual.bits, usual.group_size, len(modules), relative)


def _run(name: str, reference: Reference, arrays: Mapping[str, Any], settings: Settings, seed: int) -> Outputs:
    stage = next(stage for stage in STAGES if stage.name == name)
    side, given = TorchSide(reference.component(stage.component, "float32")), Given(arrays, settings, seed)
    # both go along one walk
    prepared = {} if name == "llm" else stage.prepare(side, given)
    return stage.call(side, given.adding(prepared))


def _llm(pair: Pair, arrays: Mapping[str, Any], settings: Settings, seed: int, drift: QuantizationDrift) -> None:
    packed, official = (_run("llm", side, arrays, settings, seed) for side in (pair.reference, pair.original))
    q, p = (np.asarray(side.tensors["log_probs"][0], np.float64) for side in (packed, official))
    drift.outputs["log_probs"] = compare(q, p)
    drift.measures = {
        "kl": float((np.exp(p) * (p - q)).sum(axis=-1).mean()),
        "top1_agreement": float((p.argmax(axis=-1) == q.argmax(axis=-1)).mean()),
        "token_agreement": float((packed.tokens["speech_token"] == official.tokens["speech_token"]).mean()),
    }


def _flow(pair: Pair, arrays: Mapping[str, Any], settings: Settings, seed: int, drift: QuantizationDrift) -> None:
    """Encoder and decoder in a row, and what the vocoder makes of both mels."""
    made = []
    for side in (pair.reference, pair.original):
        own = dict(arrays)
        for name in ("flow_encoder", "flow_decoder"):
            outputs = _run(name, side, own, settings, seed)
            own |= {key: array.astype(np.float32) for key, array in outputs.tensors.items()}
        made.append(own)
    wavs = [_run("vocoder", pair.original, own, settings, seed).tensors["wav"] for own in made]
    drift.outputs["mel"] = compare(made[0]["mel"], made[1]["mel"])
    drift.outputs["wav"] = compare(*wavs)

"""What a run of CosyVoice's pipeline found."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlx_parity.findings import RunReport as AnyRunReport
from parity.quantization.packing import QuantizationDrift
from parity.stages import Settings


@dataclass
class RunReport(AnyRunReport):
    """A whole run. `quantization` is what packing itself changed, of a quantized model; `family` its name for people.

    The `layers` of `audits` are tensors and fields of what is stored, beside the official files.
    """

    settings: Settings = field(default_factory=Settings)
    quantization: list[QuantizationDrift] = field(default_factory=list)
    family: str = ""

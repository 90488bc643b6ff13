"""What a run of CosyVoice's pipeline found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from mlx_parity.compare import Verdict, worst
from mlx_parity.findings import RunReport as AnyRunReport
from mlx_parity.findings import StageReport
from parity.heard import Heard
from parity.quantization.packing import QuantizationDrift
from parity.report.measures import measures_line, mel_line
from parity.stages import Settings
from parity.stages.base import mode_title


@dataclass
class RunReport(AnyRunReport):
    """A whole run. `quantization` is what packing itself changed, of a quantized model; `family` its name for people.
    `heard` is what a listener says of both sides' speech, or why nobody listened; "" where nobody was asked to.

    The `layers` of `audits` are tensors and fields of what is stored, beside the official files.
    """

    settings: Settings = field(default_factory=Settings)
    quantization: list[QuantizationDrift] = field(default_factory=list)
    family: str = ""
    heard: Heard | str = ""

    names: ClassVar[tuple[str, str]] = ("PyTorch", "MLX")

    @property
    def mode(self) -> str:
        return mode_title(self.settings.streaming)

    def asked(self) -> dict[str, Any]:
        return {"streaming": self.settings.streaming}

    def lines(self, stage: StageReport) -> list[str]:
        return [line for line in (mel_line(stage), measures_line(stage)) if line]

    def notes(self) -> list[str]:
        heard = self.heard.lines() if isinstance(self.heard, Heard) else []
        why = [f"not listened to: {self.heard}"] if self.heard and not heard else []
        return [*(f"quantization drift: {drift.summary()}" for drift in self.quantization), *why, *heard]

    @property
    def verdict(self) -> Verdict:
        return worst([super().verdict, *([self.heard.verdict] if isinstance(self.heard, Heard) else [])])

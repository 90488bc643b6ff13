"""What a run found, kept so that its page can be made again."""

from __future__ import annotations

from pathlib import Path

from mlx_parity.captures.values import read_values, write_values
from mlx_parity.compare import Difference, Layer, Verdict
from mlx_parity.findings import Culprit, RunReport, StageReport

FILE = "findings.json"
TYPES = (RunReport, StageReport, Culprit, Layer, Difference)


def write_report(report: RunReport, about: dict[str, str], folder: Path) -> None:
    """Keep a run in a folder, which is made if it is missing; `about` is what the page says of it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_values({"report": report, "about": about}, folder / FILE)


def read_report(folder: Path) -> tuple[RunReport, dict[str, str]]:
    """What `write_report` wrote.

    Raises:
        CaptureError: no run is kept there.
    """
    value = read_values(folder / FILE, TYPES, {Verdict.__name__: Verdict})
    return value["report"], value["about"]

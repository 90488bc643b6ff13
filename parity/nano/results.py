"""What was measured so far: a file of one JSON object a line. A run that was stopped goes on; several may share it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class Results:
    """The results with one model; what was measured with another is left in the file and not read.

    Args:
        path: the file, made if it is missing.
        weights: which model it is.
    """

    def __init__(self, path: Path, weights: str) -> None:
        self.path, self.weights = path, weights
        self._found: dict[str, dict[str, dict[str, Any]]] = {}
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]  # the last line may have been cut
        if whole != text:
            path.write_text(whole, encoding="utf-8")
        for line in whole.splitlines():
            self._keep(json.loads(line))

    def _keep(self, record: dict[str, Any]) -> None:
        if record["weights"] == self.weights:
            self._found.setdefault(record["measure"], {})[record["case"]] = record

    def of(self, measure: str) -> dict[str, dict[str, Any]]:
        """Case -> what was found, of a measure; the last where one was measured again."""
        return self._found.get(measure, {})

    def add(self, measure: str, case: str, **found: Any) -> dict[str, Any]:
        """Write down what was found."""
        record = {"weights": self.weights, "measure": measure, "case": case, **found}
        self._keep(record)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        return record

"""Outcomes in a file of one JSON object a line, so that a run that was interrupted goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from parity.mutation.mutant import Outcome

#: Raised when a key of an outcome changes its meaning or goes away.
SCHEMA_VERSION = 1
#: Packages whose code an outcome depends on.
PACKAGES = ("mlx_cosyvoice", "reference", "converters", "mlx_parity", "parity")


class Results:
    """The outcomes of one seed. What was tried on other code, or with another seed, is not read.

    Args:
        path: the file, made if it is missing.
        root: of the checkout.
        seed: of the mutants.
    """

    def __init__(self, path: Path, root: Path, seed: int) -> None:
        self.path, self._head = path, {"schema_version": SCHEMA_VERSION, "seed": seed, "code": code_digest(root)}
        self.outcomes = {outcome.number: outcome for outcome in self._read()}

    def _read(self) -> Iterable[Outcome]:
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True) if self.path.exists() else []
        kept = [line for line in lines if line.endswith("\n")]  # the last one may have been cut
        if not kept or json.loads(kept[0]) != self._head:
            kept = [json.dumps(self._head) + "\n"]
        self.path.write_text("".join(kept), encoding="utf-8")
        for line in kept[1:]:
            values = json.loads(line)
            yield Outcome(**values | {name: tuple(values[name]) for name in ("culprits", "expected", "reached")})

    def add(self, outcome: Outcome) -> None:
        self.outcomes[outcome.number] = outcome
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(outcome.to_dict()) + "\n")


def code_digest(root: Path) -> str:
    """Of all source files."""
    digest = hashlib.sha256()
    for path in sorted(path for package in PACKAGES for path in (root / package).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()

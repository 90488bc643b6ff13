"""What a mutant is: one change of the MLX side, in its code or in what it loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        operator: the rule that made it.
        file: a source file, from the checkout's root; or the file of the model's folder, with the component of a tensor
            behind it.
        place: the class or function that holds an edit; else the tensor, field or token that is changed.
        change: what is done there, in few words; of an edit its diff.
        lines: from and to, of the statement that an edit is in.
        scope: from and to, of the innermost function or class around it, or of the file.
        text: the edited file; empty for the folder.
        partner: the other tensor, where two are exchanged.
        choice: settles what the change leaves open.
    """

    operator: str
    file: str
    place: str
    change: str
    lines: tuple[int, int] = (0, 0)
    scope: tuple[int, int] = (0, 0)
    text: str = ""
    partner: str = ""
    choice: int = 0

    @property
    def is_code(self) -> bool:
        return bool(self.text)

    def to_dict(self) -> dict[str, Any]:
        """What a reader wants: all but the file's text."""
        shown = {name: getattr(self, name) for name in ("operator", "file", "place", "change")}
        return {**shown, "line": self.lines[0]} if self.is_code else shown


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant.

    Attributes:
        number: in the order in which mutants are drawn, from 0.
        mutant: as `Mutant.to_dict` gives it.
        end: how it ended, a key of `ENDS`.
        named: "exactly", "parent" or "wrong" if it was found.
        culprits: who was blamed.
        expected: the modules to be blamed.
        evidence: the first thing said of the first culprit, the exception, or what the mutant changed unseen.
        reached: the stages that run it.
        seconds: of processor time.
    """

    number: int
    mutant: Mapping[str, Any]
    end: str
    named: str = ""
    culprits: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()
    evidence: str = ""
    reached: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def found(self) -> bool:
        return self.end in FOUND

    @property
    def changed(self) -> bool:
        """Whether any output of a public function is another one, beyond rounding."""
        return self.found or self.end == "missed"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


#: How a mutant ends, and what that means.
ENDS = {
    "diverged": "parity says that it diverges",
    "raises": "it raises where it is imported or loaded",
    "refused": "the model's folder is refused",
    "hangs": "it was stopped at the time limit",
    "dies": "its process died",
    "missed": "parity passes it, and yet a public function returns something else or raises, or a unit test fails",
    "survives": "nothing that was looked at differs, beyond rounding",
}
FOUND = ("diverged", "raises", "refused", "hangs", "dies")

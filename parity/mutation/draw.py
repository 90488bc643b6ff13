"""Which mutants are made: the n-th is a function of the seed and n, whatever their number.

An operator is drawn, each as likely as another; then a file among those that have a place for it; then a place in the
file. What was drawn before is drawn again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from parity.mutation import damage
from parity.mutation.mutant import Mutant
from parity.mutation.numeric_code import files
from parity.mutation.operators import OPERATORS, changes, edits
from parity.mutation.source import Source


class Pool:
    """All mutants that there are.

    Args:
        root: of the checkout.
        model: folder of the converted model.
        packed: folder of a model with packed weights.
    """

    def __init__(self, root: Path, model: Path, packed: Path) -> None:
        self.root, self.model, self.packed = root, model, packed
        self._known: dict[str, dict[str, list[Any]]] = {}

    @cached_property
    def sources(self) -> dict[str, Source]:
        return {file: Source.read(self.root, file) for file in files(self.root)}

    @property
    def operators(self) -> list[str]:
        return [*OPERATORS, *damage.TENSORS, *damage.JSON]

    def draw(self, seed: int, count: int) -> Iterator[Mutant]:
        """The first `count` mutants of a seed."""
        drawn: set[tuple[str, str]] = set()
        for number in range(count):
            chance = random.Random(f"{seed}/{number}")
            mutant = self._one(chance)
            while mutant is None or _key(mutant) in drawn:
                mutant = self._one(chance)
            drawn.add(_key(mutant))
            yield mutant

    def _one(self, chance: random.Random) -> Mutant | None:
        """One mutant; None where the edit that was drawn changes nothing."""
        operator = chance.choice(self.operators)
        found = self._found(operator)
        file = chance.choice(sorted(found))
        place = chance.choice(found[file])
        if operator not in OPERATORS:
            partner = chance.choice(damage.partners(self.model, place)) if operator == damage.SWAPPED else ""
            words = (damage.TENSORS.get(operator) or damage.JSON[operator]).words
            change = f"{words} {partner}".rstrip()
            return Mutant(operator, file, place, change, partner=partner, choice=chance.randrange(1 << 20))
        source, edit = self.sources[file], place
        if not changes(source, edit):
            return None
        return Mutant(
            *(operator, file, source.place(edit), source.diff(edit), source.lines(edit), source.scope(edit)),
            text=source.edited(edit),
        )

    def _found(self, operator: str) -> dict[str, list[Any]]:
        """File -> the edits or, of the model's folder, the places that there are for an operator."""
        if operator not in self._known:
            if operator in OPERATORS:
                found = {file: edits(source, operator) for file, source in self.sources.items()}
                self._known[operator] = {file: some for file, some in found.items() if some}
            else:
                packed = operator in damage.TENSORS and damage.TENSORS[operator].packed
                self._known[operator] = dict(damage.places(operator, self.packed if packed else self.model))
        return self._known[operator]


def _key(mutant: Mutant) -> tuple[str, str]:
    """Two operators may make the same edit."""
    return (mutant.file, mutant.text) if mutant.is_code else (mutant.operator, mutant.place)

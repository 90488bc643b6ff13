"""Pairs the modules of a port with those of the reference."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlx_parity.sides.recorded import Network

#: How a port's path becomes the reference's: a function, or regular expressions and what stands for them.
Rename = Callable[[str], str] | Mapping[str, str]


@dataclass
class Pairing:
    """`modules`: path in the reference -> path in the port. What is left over on either side is listed."""

    modules: dict[str, str] = field(default_factory=dict)
    only_reference: list[str] = field(default_factory=list)
    only_port: list[str] = field(default_factory=list)


def pair_modules(reference: Network, port: Network, rename: Rename | None = None) -> Pairing:
    """Find the twin of every module.

    By name first, after `rename`, unless of two of a name one alone has weights: there a layer may bear the name of
    what is around it. Then by equal weights, whatever the order of their axes; then parents by their parts; then
    children of equal parents by their own names, or by their order, if there are as many of a kind on either side; and
    last what else has one name.

    Args:
        reference: with its module.
        port: with its own.
        rename: port's path -> reference's path, where names differ: a function, or a table of regular expressions that
            must match from the beginning.
    """
    pairer = _Pairer(reference, port)
    pairer.by_name(rename)
    pairer.to_the_end()
    pairer.by_name(rename, unlike=True)
    pairer.to_the_end()
    return pairer.done()


def renamed(path: str, rename: Rename | None) -> str:
    """What the reference calls a port's path."""
    if rename is None:
        return path
    if callable(rename):
        return rename(path)
    for pattern, replacement in rename.items():
        path = re.sub(f"^{pattern}", replacement, path)
    return path


class _Pairer:
    def __init__(self, reference: Network, port: Network) -> None:
        self.sides, self.reference, self.port = (reference, port), reference.modules(), port.modules()
        self.kinds = tuple(
            {path: side.kind(module).lower() for path, module in side.modules().items()} for side in self.sides
        )
        self._weighing = tuple(
            {path for path, module in side.modules().items() if side.parameters(module)} for side in self.sides
        )
        self.found = Pairing()
        self._taken: dict[str, str] = {}
        self._weighed = False

    def _pair(self, path: str, twin: str) -> bool:
        """Pair the reference's `path` with the port's `twin`, if both are free."""
        if path in self.found.modules or twin in self._taken:
            return False
        self.found.modules[path], self._taken[twin] = twin, path
        return True

    def _pair_all(self, pairs: Iterable[tuple[str, str]]) -> bool:
        """Whether any of them could be paired."""
        return sum(self._pair(path, twin) for path, twin in pairs) > 0

    def _free(self) -> tuple[list[str], list[str]]:
        mine = [path for path in self.reference if path not in self.found.modules]
        return mine, [path for path in self.port if path not in self._taken]

    def to_the_end(self) -> None:
        """All ways but by names, as long as one finds something."""
        while self.by_weights() or self.by_parts() or self.by_own_name() or self.by_order():
            pass

    def by_name(self, rename: Rename | None, *, unlike: bool = False) -> None:
        """Modules of one name; those of which one alone has weights only where they may be `unlike`."""
        for twin in self.port:
            path = renamed(twin, rename)
            alike = (path in self._weighing[0]) == (twin in self._weighing[1])
            if path in self.reference and (unlike or alike):
                self._pair(path, twin)

    def by_weights(self) -> bool:
        """Modules of which both sides have one alone with these numbers in it. Looked at once."""
        if self._weighed or not all(self._free()):
            return False
        self._weighed = True
        mine, theirs = self._free()
        digests = _digests(self.sides[0], {path: self.reference[path] for path in mine})
        twins = _digests(self.sides[1], {path: self.port[path] for path in theirs})
        pairs = [
            (paths[0], twins[digest][0])
            for digest, paths in digests.items()
            if len(paths) == 1 and len(twins.get(digest, ())) == 1
        ]
        return self._pair_all(pairs)

    def by_parts(self) -> bool:
        """Parents all of whose paired parts have one parent on the other side."""
        parents: dict[str, set[str]] = defaultdict(set)
        for path, twin in self.found.modules.items():
            if _parent(path) in self.reference and _parent(twin) in self.port:
                parents[_parent(path)].add(_parent(twin))
        claimed = [twin for twins in parents.values() for twin in twins]
        sure = [
            (path, next(iter(twins)))
            for path, twins in parents.items()
            if len(twins) == 1 and claimed.count(*twins) == 1
        ]
        return self._pair_all(sure)

    def by_own_name(self) -> bool:
        """Left-over children of paired parents that are called alike in them."""
        free = set(self._free()[1])
        pairs = [
            (path, f"{self.found.modules[_parent(path)]}.{path.rpartition('.')[2]}")
            for path in self._free()[0]
            if _parent(path) in self.found.modules
        ]
        return self._pair_all([(path, twin) for path, twin in pairs if twin in free])

    def by_order(self) -> bool:
        """Left-over children of paired parents, kind by kind, where there are as many on either side."""
        mine, theirs = (_by_parent(paths) for paths in self._free())
        pairs: list[tuple[str, str]] = []
        for parent, twin in [("", ""), *self.found.modules.items()]:
            ours, others = mine.get(parent, []), theirs.get(twin, [])
            for kind in {self.kinds[0][path] for path in ours}:
                left = [path for path in ours if self.kinds[0][path] == kind]
                right = [path for path in others if self.kinds[1][path] == kind]
                if len(left) == len(right):
                    pairs += zip(left, right, strict=True)
        return self._pair_all(pairs)

    def done(self) -> Pairing:
        """What was found, in the order of the reference's modules."""
        self.found.modules = {path: self.found.modules[path] for path in self.reference if path in self.found.modules}
        self.found.only_reference, self.found.only_port = self._free()
        return self.found


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _by_parent(paths: Iterable[str]) -> dict[str, list[str]]:
    children: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        children[_parent(path)].append(path)
    return children


def _digests(side: Network, modules: Mapping[str, Any]) -> dict[str, list[str]]:
    """What the numbers of a module's own parameters are, whatever their order -> the modules of which that is so."""
    found: dict[str, list[str]] = defaultdict(list)
    for path, module in modules.items():
        arrays = side.parameters(module)
        if arrays:
            digest = hashlib.sha256()
            ordered = (np.sort(array, axis=None) for array in arrays.values())
            for array in sorted(ordered, key=lambda one: (one.size, float(one[0]), float(one[-1]))):
                digest.update(str(array.size).encode() + array.astype(np.float32).tobytes())
            found[digest.hexdigest()].append(path)
    return found

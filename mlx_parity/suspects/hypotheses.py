"""Which hypothesis about attention explains what a module made: searched from few positions to all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, permutations, product
from typing import Any

import numpy as np

from mlx_parity.compare import relative_rms
from mlx_parity.suspects.attention import Attention
from mlx_parity.suspects.scene import Scene

Array = np.ndarray
Sources = Mapping[str, Array]

#: Longer texts are not looked into: scores grow with the square.
LONGEST = 256

#: Bases of rotary frequencies that models have.
BASES = (10000.0, 500000.0, 1000000.0, 100000.0)

#: Softcaps of scores.
CAPS = (50.0, 30.0)

#: Norms of queries and keys without weights.
NORMS: tuple[dict[str, Any], ...] = (
    {"norm": ""},
    *({"norm": norm, "eps": eps} for norm in ("after", "before") for eps in (1e-6, 1e-5)),
)

#: Shares of a head that are rotated.
PARTS = (1.0, 0.5, 0.25, 0.75, 0.4)


def attention_apart(scene: Scene) -> str:
    """What the port's attention does otherwise than the reference's, in words; "" if that is not known of both."""
    exact, port = (_as_text(array) for array in (scene.exact, scene.actual.astype(np.float64)))
    if exact is None or port is None or not 3 <= exact.shape[1] <= LONGEST or not np.isfinite(port).all():
        return ""
    sources = sources_of(scene.sources, exact.shape)
    options = Options.of(scene, exact.shape)
    official = next(_searched(scene, sources, exact, options), None)
    if official is None:
        return ""

    @cache
    def shows(guess: Attention) -> bool:
        """Whether it may be the port's: at the second position, where masks make no difference."""
        return relative_rms(guess(sources, 2)[:, 1], port[:, 1]) <= 4 * scene.allowed

    for other in (*_changed(official, sources, options, 1), *_changed(official, sources, options, 2)):
        if other.ahead == 0 and not shows(replace(other, window=min(other.window, 2))):
            continue
        if scene.close(other(sources), port) and scene.explains(
            (port - other(sources) + official(sources)).reshape(scene.exact.shape)
        ):
            return _in_words(other, official)
    return ""


@dataclass(frozen=True)
class Options:
    """What is tried: what models usually have, and what the port's module is set to."""

    heads: tuple[int, ...]
    bases: tuple[float, ...]
    scales: tuple[float, ...]
    caps: tuple[float, ...]
    length: int

    @classmethod
    def of(cls, scene: Scene, shape: tuple[int, ...]) -> Options:
        width, numbers = shape[-1], scene.numbers
        whole = [int(number) for number in numbers if number == int(number) and 2 <= number <= width]
        named = [head for number in whole for head in (number, width // number) if width % number == 0]
        shaped = [array.shape[-1] for array in scene.sources.values() if array.ndim == 4]
        every = [head for head in range(2, width + 1) if width % head == 0]
        return cls(
            tuple(dict.fromkeys(head for head in (*shaped, *named, *every) if width % head == 0 and head % 2 == 0)),
            tuple(dict.fromkeys((*(number for number in numbers if number >= 100), *BASES))),
            tuple(dict.fromkeys((1.0, *(number for number in numbers if 0 < number < 1)))),
            tuple(dict.fromkeys((*(number for number in numbers if 5 <= number <= 200), *CAPS))),
            shape[1],
        )

    def all_scales(self, head: int) -> tuple[float, ...]:
        return (head**-0.5, *self.scales, 1 / head)

    def rotations(self, head: int) -> Iterator[dict[str, Any]]:
        yield {"rotary": ""}
        parts = dict.fromkeys(2 * int(head * part / 2) for part in PARTS)
        for rotary, part, base in product(("halves", "pairs"), parts, self.bases):
            if part >= 2:
                yield {"rotary": rotary, "part": part, "base": base}


def _as_text(array: Array) -> Array | None:
    """[batch, time, width] of an array with these axes, or with time and width alone."""
    return array[None] if array.ndim == 2 else array if array.ndim == 3 else None


def sources_of(arrays: Mapping[str, Array], shape: tuple[int, ...]) -> dict[str, Array]:
    """What queries, keys and values may be: [batch, time, width] each. A fused projection is cut in both usual ways."""
    batch, time, width = shape
    found: dict[str, Array] = {}
    for name, array in arrays.items():
        wide = array.astype(np.float64)
        if wide.ndim == 4 and wide.shape[1] != time and wide.shape[2] == time:
            wide = wide.swapaxes(1, 2)
        if wide.size % (batch * time) or (wide.shape[:2] != (batch, time) and wide.ndim != 2):
            continue
        wide = wide.reshape(batch, time, -1)
        found[name] = wide
        if wide.shape[-1] > width and (wide.shape[-1] - width) % 2 == 0:
            shared = (wide.shape[-1] - width) // 2
            pieces = np.split(wide, [width, width + shared], axis=-1)
            found |= {f"{role} of {name}": piece for role, piece in zip(ROLES, pieces, strict=True)}
    return found


#: What a fused projection holds.
ROLES = ("queries", "keys", "values")


def _cut_by_head(sources: Sources, head: int, width: int) -> dict[str, Array]:
    """Fused projections in which every head of keys has its queries, its keys and its values together."""
    found: dict[str, Array] = {}
    for name, array in sources.items():
        shared = (array.shape[-1] - width) // 2
        if array.shape[-1] <= width or shared % head or not shared or width % shared:
            continue
        grouped = array.reshape(*array.shape[:2], shared // head, -1, head)
        pieces = (grouped[..., :-2, :], grouped[..., -2:-1, :], grouped[..., -1:, :])
        found |= {
            f"{role} by head of {name}": piece.reshape(*array.shape[:2], -1)
            for role, piece in zip(ROLES, pieces, strict=True)
        }
    return found


def _searched(scene: Scene, sources: dict[str, Array], target: Array, options: Options) -> Iterator[Attention]:
    """Hypotheses that explain all of an array. The first position shows the values alone, the second all but masks."""
    width = target.shape[-1]
    for head in options.heads:
        sources.update(_cut_by_head(sources, head, width))
        for start in _starts(sources, target, head, scene.allowed):
            for scale, rotation, cap, norm in product(
                options.all_scales(head), options.rotations(head), (0.0, *options.caps), NORMS
            ):
                guess = replace(start, scale=scale, cap=cap, **norm, **rotation)
                if relative_rms(guess(sources, 2)[:, 1], target[:, 1]) > 4 * scene.allowed:
                    continue
                for window in (0, *range(2, options.length)):
                    seeing = replace(guess, window=window)
                    if scene.close(seeing(sources), target):
                        yield seeing


def _starts(sources: Sources, target: Array, head: int, allowed: float) -> Iterator[Attention]:
    """Which arrays may be queries, keys and values: what the first position sees of the values is what comes out."""
    width = target.shape[-1]
    fitting = {name: array for name, array in sources.items() if array.shape[-1] <= width}
    for values, array in fitting.items():
        shared = array.shape[-1]
        if shared % head or width % shared:
            continue
        guess = Attention(values, values, values, head, scale=0.0)
        for tiled in (False, True) if shared < width else (False,):
            first = replace(guess, tiled=tiled)._shared(array[:, :1].reshape(len(array), 1, -1, head), width // head)
            if relative_rms(first.reshape(len(array), -1), target[:, 0]) > 4 * allowed:
                continue
            pairs = [  # norms of queries and keys, which come after the projections, first
                (queries, keys)
                for queries, keys in permutations(sorted(fitting, key=lambda name: "norm" not in name), 2)
                if values not in (queries, keys)
                and fitting[queries].shape[-1] == width
                and fitting[keys].shape[-1] == shared
            ]
            for queries, keys in sorted(pairs, key=lambda names: _unlikely(*names)):
                yield Attention(queries, keys, values, head, tiled=tiled)


def _unlikely(queries: str, keys: str) -> int:
    """Those called so first."""
    return ("q" not in queries) + ("k" not in keys) + (("norm" in queries) != ("norm" in keys))


def _changed(official: Attention, sources: Sources, options: Options, count: int) -> Iterator[Attention]:
    """The same with so many things done otherwise."""
    sizes = {name: array.shape for name, array in sources.items()}
    changes: list[tuple[str, dict[str, Any]]] = [
        *(("window", {"window": window}) for window in range(options.length) if window != official.window),
        *(("rotary", rotation) for rotation in options.rotations(official.head)),
        *(("scale", {"scale": scale}) for scale in options.all_scales(official.head) if scale != official.scale),
        *(("cap", {"cap": cap}) for cap in (0.0, *options.caps) if cap != official.cap),
        *(("mask", {"ahead": ahead}) for ahead in (None, 1)),
        *(("norm", norm) for norm in NORMS if norm != {"norm": official.norm, "eps": official.eps}),
        ("tiled", {"tiled": not official.tiled}),
        *(
            (role, {role: name})
            for role in ROLES
            for name in sources
            if name != getattr(official, role) and sizes[name] == sizes[getattr(official, role)]
        ),
    ]
    for chosen in combinations(changes, count):
        if len({what for what, _ in chosen}) == count:
            yield replace(official, **{name: value for _, change in chosen for name, value in change.items()})


def _in_words(port: Attention, official: Attention) -> str:
    when = " {} the rotation" if port.norm and official.norm else ""
    said = [
        *_rotation_in_words(port, official),
        *_compared("a sliding window of {}", "no sliding window", port.window, official.window),
        *_compared("a softcap of {:g}", "no softcap", port.cap, official.cap),
        *_compared(f"a norm of queries and keys{when}", "no such norm", port.norm, official.norm),
    ]
    if port.norm and official.norm and port.eps != official.eps:
        said.append(
            f"the port's norm of queries and keys has an epsilon of {port.eps:g}, the reference's {official.eps:g}"
        )
    if port.scale != official.scale:
        said.append(f"the port scales by {port.scale:.6g}, the reference by {official.scale:.6g}")
    if port.ahead != official.ahead:
        said.append(
            "the port has no causal mask" if port.ahead is None else "the port's mask lets one position ahead be seen"
        )
    if port.tiled != official.tiled:
        said.append("the port shares keys among its heads in another order")
    for role in ROLES:
        if getattr(port, role) != getattr(official, role):
            said.append(f"the port takes {getattr(port, role)} for its {role}, the reference {getattr(official, role)}")
    return "; ".join(said)


def _rotation_in_words(port: Attention, official: Attention) -> list[str]:
    if port.rotary != official.rotary:
        how = {"halves": "rotates halves of a head", "pairs": "rotates pairs of neighbours", "": "does not rotate"}
        return [f"the port {how[port.rotary]}, the reference {how[official.rotary]}"]
    said = []
    if port.rotary and port.part != official.part:
        said.append(f"the port rotates {port.part} numbers of each head of {port.head}, the reference {official.part}")
    if port.rotary and port.base != official.base:
        said.append(f"the port rotates by a base of {port.base:g}, the reference by {official.base:g}")
    return said


def _compared(some: str, none: str, port: Any, official: Any) -> list[str]:
    """What the port has, beside what the reference has."""
    if port == official:
        return []
    mine, theirs = (some.format(value) if value else none for value in (port, official))
    return [f"the port has {mine}, the reference {theirs}"]

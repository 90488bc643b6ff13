"""The mistakes that are made in a model's folder: in weights, config.json, tokenizer.json and packed weights.

Each operator lists the places where it can be made, and makes one of them in a copy of the folder. A tensor's place is
its name, a field's its path.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from parity.mutation.mutant import Mutant

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
#: The operator that needs two tensors.
SWAPPED = "tensor-swapped"
#: Fields of config.json that do not describe the network.
_FORMAT = ("model_type", "format_version", "components", "dtypes", "layer_dtypes", "quantization")

#: The tensors of one kind of place, and what is done: (tensors, the place, a number that settles the rest).
Tensors = dict[str, np.ndarray]
Change = Callable[[Tensors, str, int], np.ndarray]
#: The content of a JSON file, the place, the number that settles the rest; changes the content.
JsonChange = Callable[[Any, str, int], None]


@dataclass(frozen=True)
class TensorDamage:
    """`fits` says of (name, shape) whether the mistake can be made there; `packed` is for packed layers' parts."""

    change: Change
    words: str
    fits: Callable[[str, tuple[int, ...]], bool]
    packed: bool = False


@dataclass(frozen=True)
class JsonDamage:
    """`places` lists where the mistake can be made in the file."""

    file: str
    change: JsonChange
    words: str
    places: Callable[[Any], Iterator[str]]


def _any(name: str, shape: tuple[int, ...]) -> bool:
    return True


def _rows(name: str, shape: tuple[int, ...]) -> bool:
    return len(shape) > 1 and shape[0] > 1


def _square(name: str, shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and shape[0] == shape[1] > 1


def _part(part: str) -> Callable[[str, tuple[int, ...]], bool]:
    return lambda name, shape: name.endswith(f".{part}")


def _exchanged(tensors: Tensors, name: str, choice: int) -> np.ndarray:
    made = tensors[name].copy()
    row = choice % (len(made) - 1)
    made[[row, row + 1]] = made[[row + 1, row]]
    return made


def _one_nan(tensors: Tensors, name: str, choice: int) -> np.ndarray:
    made = tensors[name].copy()
    made.flat[choice % made.size] = np.nan
    return made


def _one_group(tensors: Tensors, name: str, choice: int) -> np.ndarray:
    """Two groups' scales or biases in each other's place."""
    made = tensors[name].copy()
    flat, first = made.reshape(-1), choice % (made.size - 1)
    flat[[first, first + 1]] = flat[[first + 1, first]]
    return made


TENSORS: dict[str, TensorDamage] = {
    "tensor-scaled": TensorDamage(lambda t, name, _: t[name] * t[name].dtype.type(1.01), "times 1.01", _any),
    "tensor-swapped": TensorDamage(lambda t, name, _: t[name], "exchanged with", _any),
    "row-exchanged": TensorDamage(_exchanged, "two rows exchanged", _rows),
    "tensor-transposed": TensorDamage(lambda t, name, _: np.ascontiguousarray(t[name].T), "transposed", _square),
    "tensor-negated": TensorDamage(lambda t, name, _: -t[name], "its sign changed", _any),
    "tensor-rounded": TensorDamage(
        lambda t, name, _: t[name].astype(np.float16).astype(t[name].dtype), "rounded to float16", _any
    ),
    "tensor-nan": TensorDamage(_one_nan, "one number is NaN", _any),
    "packed-scale": TensorDamage(
        lambda t, name, _: t[name] * t[name].dtype.type(1.01), "times 1.01", _part("scales"), True
    ),
    "packed-bias": TensorDamage(lambda t, name, _: -t[name], "its sign changed", _part("biases"), True),
    "packed-group": TensorDamage(_one_group, "two groups exchanged", _part("scales"), True),
}


def _leaves(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    if not items and not isinstance(content, (dict, list)):
        yield path, content
    for name, value in items:
        yield from _leaves(value, f"{path}.{name}" if path else str(name))


def _put(content: Any, path: str, change: Callable[[Any], Any]) -> None:
    *parents, last = (int(name) if name.isdigit() else name for name in path.split("."))
    for name in parents:
        content = content[name]
    content[last] = change(content[last])


def _fields(kind: type | tuple[type, ...]) -> Callable[[Any], Iterator[str]]:
    def places(content: Any) -> Iterator[str]:
        for path, value in _leaves(content):
            if (
                isinstance(value, kind)
                and isinstance(value, bool) == (kind is bool)
                and path.split(".")[0] not in _FORMAT
            ):
                yield path

    return places


def _number_changed(content: Any, place: str, choice: int) -> None:
    _put(content, place, lambda value: value + 1 if isinstance(value, int) else value * 1.1)


def _flag_flipped(content: Any, place: str, choice: int) -> None:
    _put(content, place, lambda value: not value)


def _tokenizer_flags(content: Any) -> Iterator[str]:
    # of what reads text; the decoder and the template around it have no part in encoding
    wanted = ("added_tokens", "normalizer", "pre_tokenizer", "model")
    yield from (path for path in _fields(bool)(content) if path.split(".")[0] in wanted)


def _merge_dropped(content: Any, place: str, choice: int) -> None:
    del content["model"]["merges"][int(place.split(".")[-1])]


def _special_dropped(content: Any, place: str, choice: int) -> None:
    del content["added_tokens"][int(place.split(".")[-1])]


def _special_exchanged(content: Any, place: str, choice: int) -> None:
    tokens, at = content["added_tokens"], int(place.split(".")[-1])
    one, other = tokens[at], tokens[(at + 1) % len(tokens)]
    one["content"], other["content"] = other["content"], one["content"]


def _merges(content: Any) -> Iterator[str]:
    yield from (f"model.merges.{place}" for place in range(len(content["model"]["merges"])))


def _specials(content: Any) -> Iterator[str]:
    yield from (f"added_tokens.{place}" for place in range(len(content["added_tokens"])))


JSON: dict[str, JsonDamage] = {
    "config-number": JsonDamage(CONFIG, _number_changed, "another number", _fields((int, float))),
    "token-merge-dropped": JsonDamage(TOKENIZER, _merge_dropped, "left out", _merges),
    "token-special-dropped": JsonDamage(TOKENIZER, _special_dropped, "left out", _specials),
    "token-special-exchanged": JsonDamage(TOKENIZER, _special_exchanged, "exchanged with the next", _specials),
    "token-flag": JsonDamage(TOKENIZER, _flag_flipped, "the other value", _tokenizer_flags),
}


def places(operator: str, folder: Path) -> dict[str, list[str]]:
    """File -> the places in it where the operator can be used; of weights every component is a file."""
    if operator in JSON:
        damage = JSON[operator]
        return {damage.file: list(damage.places(json.loads((folder / damage.file).read_text(encoding="utf-8"))))}
    found: dict[str, list[str]] = {}
    for name, shape in _shapes(folder).items():
        if TENSORS[operator].fits(name, shape) and (operator != SWAPPED or partners(folder, name)):
            found.setdefault(f"{WEIGHTS}: {name.partition('.')[0]}", []).append(name)
    return found


def partners(folder: Path, name: str) -> list[str]:
    """The other tensors of the shape of one."""
    shapes = _shapes(folder)
    return [other for other, shape in shapes.items() if shape == shapes[name] and other != name]


@lru_cache(maxsize=4)
def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, "numpy") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in sorted(file.keys())}


def damaged(mutant: Mutant, folder: Path, into: Path) -> Path:
    """A copy of a model's folder with the change; what is not changed is linked."""
    into.mkdir()
    changed = WEIGHTS if mutant.operator in TENSORS else JSON[mutant.operator].file
    for path in folder.iterdir():
        if path.name != changed:
            os.symlink(path.resolve(), into / path.name)
    if mutant.operator in TENSORS:
        _write_tensors(mutant, folder, into)
    else:
        content = json.loads((folder / changed).read_text(encoding="utf-8"))
        JSON[mutant.operator].change(content, mutant.place, mutant.choice)
        (into / changed).write_text(json.dumps(content), encoding="utf-8")
    return into


def _write_tensors(mutant: Mutant, folder: Path, into: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    with safe_open(folder / WEIGHTS, "numpy") as file:
        metadata = file.metadata()
    if mutant.partner:
        tensors[mutant.place], tensors[mutant.partner] = tensors[mutant.partner], tensors[mutant.place]
    tensors[mutant.place] = TENSORS[mutant.operator].change(tensors, mutant.place, mutant.choice)
    save_file(tensors, into / WEIGHTS, metadata)

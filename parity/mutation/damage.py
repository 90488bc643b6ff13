"""The mistakes that are made in a model's folder: in weights, config.json, tokenizer.json and packed weights.

Each operator lists the places where it can be made, and makes one of them in a copy of the folder. A tensor's place is
its name, a field's its path.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import delitem
from pathlib import Path
from typing import Any

import numpy as np

from parity.mutation.mutant import Mutant

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
#: The operator that needs two tensors.
SWAPPED = "tensor-swapped"
#: Fields of config.json that do not describe the network.
_FORMAT = ("model_type", "format_version", "components", "dtypes", "layer_dtypes", "quantization")

#: What is done to a tensor, by a number that settles the rest.
Change = Callable[[np.ndarray, int], np.ndarray]
#: Changes what holds a place of a JSON file, under its key or number there.
JsonChange = Callable[[Any, Any], None]


@dataclass(frozen=True)
class TensorDamage:
    """`fits` says of (name, shape) whether the mistake can be made there; `packed` is for packed layers' parts."""

    change: Change
    words: str
    fits: Callable[[str, tuple[int, ...]], bool] = lambda name, shape: True
    packed: bool = False


@dataclass(frozen=True)
class JsonDamage:
    """`places` lists where the mistake can be made in the file."""

    file: str
    change: JsonChange
    words: str
    places: Callable[[Any], Iterator[str]]


def _part(part: str) -> Callable[[str, tuple[int, ...]], bool]:
    return lambda name, shape: name.endswith(f".{part}")


def _exchanged(array: np.ndarray, choice: int) -> np.ndarray:
    """Two rows in each other's place."""
    made = array.copy()
    row = choice % (len(made) - 1)
    made[[row, row + 1]] = made[[row + 1, row]]
    return made


def _one_nan(array: np.ndarray, choice: int) -> np.ndarray:
    made = array.copy()
    made.flat[choice % made.size] = np.nan
    return made


TENSORS: dict[str, TensorDamage] = {
    "tensor-scaled": TensorDamage(lambda x, _: x * x.dtype.type(1.01), "times 1.01"),
    "tensor-swapped": TensorDamage(lambda x, _: x, "exchanged with"),
    "row-exchanged": TensorDamage(
        _exchanged, "two rows exchanged", lambda name, shape: len(shape) > 1 and shape[0] > 1
    ),
    "tensor-transposed": TensorDamage(
        lambda x, _: np.ascontiguousarray(x.T),
        "transposed",
        lambda name, shape: len(shape) == 2 and shape[0] == shape[1] > 1,
    ),
    "tensor-negated": TensorDamage(lambda x, _: -x, "its sign changed"),
    "tensor-rounded": TensorDamage(lambda x, _: x.astype(np.float16).astype(x.dtype), "rounded to float16"),
    "tensor-nan": TensorDamage(_one_nan, "one number is NaN"),
    "packed-scale": TensorDamage(lambda x, _: x * x.dtype.type(1.01), "times 1.01", _part("scales"), True),
    "packed-bias": TensorDamage(lambda x, _: -x, "its sign changed", _part("biases"), True),
    "packed-group": TensorDamage(
        lambda x, choice: _exchanged(x.reshape(-1), choice).reshape(x.shape),
        "two groups exchanged",
        _part("scales"),
        True,
    ),
}


def _leaves(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    if not items and not isinstance(content, (dict, list)):
        yield path, content
    for name, value in items:
        yield from _leaves(value, f"{path}.{name}" if path else str(name))


def _slot(content: Any, path: str) -> tuple[Any, Any]:
    """What holds a place, and its key or number there."""
    *parents, last = (int(name) if name.isdigit() else name for name in path.split("."))
    for name in parents:
        content = content[name]
    return content, last


def _fields(kind: type | tuple[type, ...], content: Any) -> Iterator[str]:
    for path, value in _leaves(content):
        fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
        if fits and path.split(".")[0] not in _FORMAT:
            yield path


def _entries(path: str, content: Any) -> Iterator[str]:
    holder, name = _slot(content, path)
    yield from (f"{path}.{place}" for place in range(len(holder[name])))


def _tokenizer_flags(content: Any) -> Iterator[str]:
    # of what reads text; the decoder and the template around it have no part in encoding
    wanted = ("added_tokens", "normalizer", "pre_tokenizer", "model")
    yield from (path for path in _fields(bool, content) if path.split(".")[0] in wanted)


def _number_changed(holder: Any, name: Any) -> None:
    holder[name] = holder[name] + 1 if isinstance(holder[name], int) else holder[name] * 1.1


def _flag_flipped(holder: Any, name: Any) -> None:
    holder[name] = not holder[name]


def _special_exchanged(tokens: Any, at: Any) -> None:
    one, other = tokens[at], tokens[(at + 1) % len(tokens)]
    one["content"], other["content"] = other["content"], one["content"]


JSON: dict[str, JsonDamage] = {
    "config-number": JsonDamage(CONFIG, _number_changed, "another number", partial(_fields, (int, float))),
    "token-merge-dropped": JsonDamage(TOKENIZER, delitem, "left out", partial(_entries, "model.merges")),
    "token-special-dropped": JsonDamage(TOKENIZER, delitem, "left out", partial(_entries, "added_tokens")),
    "token-special-exchanged": JsonDamage(
        TOKENIZER, _special_exchanged, "exchanged with the next", partial(_entries, "added_tokens")
    ),
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
        JSON[mutant.operator].change(*_slot(content, mutant.place))
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
    tensors[mutant.place] = TENSORS[mutant.operator].change(tensors[mutant.place], mutant.choice)
    save_file(tensors, into / WEIGHTS, metadata)

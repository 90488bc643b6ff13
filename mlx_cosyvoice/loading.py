"""Builds the components of a model folder and fills them."""

from __future__ import annotations

import os
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any, Generic, TypeVar

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlx_cosyvoice.config import FieldError
from mlx_cosyvoice.families import Family
from mlx_cosyvoice.nn.backend import in_cpu_form
from mlx_cosyvoice.plausible import check_agreement, check_counts
from mlx_cosyvoice.quoting import plain
from mlx_cosyvoice.text import TextTokenizer
from mlx_cosyvoice.turns import turn
from mlx_cosyvoice.voices import read_spk2info_safetensors
from mlx_cosyvoice.weights import CONFIG, DTYPES, WEIGHTS, ModelFolderError, StoredModel

AUTO = "auto"
#: Weights are read and cast so many bytes at a time: what they are cast from needs no more memory than that.
TOGETHER = 1 << 27

M = TypeVar("M", bound=nn.Module)


def computing_dtype(dtype: str | None = AUTO) -> str | None:
    """The dtype that networks are to compute in, None meaning that which the folder holds.

    "auto" is float32 in the CPU's form (see `nn.backend`), as MLX is several times slower there at the same matrix
    product of 16-bit or packed numbers. Elsewhere it is what the folder holds.

    Raises:
        ValueError: `dtype` is not known.
    """
    if dtype == AUTO:
        return "float32" if in_cpu_form() else None
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype must be {AUTO}, one of {', '.join(DTYPES)}, or None (as stored), not {dtype!r}")
    return dtype


def load_components(
    folder: Path, dtype: str | None = AUTO
) -> tuple[Family, Any, dict[str, Any], dict[str, str], dict[str, str]]:
    """Everything that a model folder holds.

    Args:
        folder: of the model.
        dtype: as for `computing_dtype`.

    Returns:
        The family; the config; name -> network, its weights to be read in a turn (see `OnFirstUse`), and
        "text_tokenizer" and "speakers" where the folder has them; name -> dtype that it computes in; name -> dtype that
        the folder holds.

    Raises:
        ModelFolderError: the folder is not a complete converted model; the file or key is named.
        ValueError: `dtype` is not known.
    """
    computing = computing_dtype(dtype)
    with turn():
        stored = StoredModel.open(folder)
    config, names = stored.config, stored.meta["components"]
    _check_config(stored)
    with turn():
        components = {name: stored.fill(_built(stored, name), name, dtype=computing) for name in names}
        mx.eval(mx.random.state)  # layers are made with draws, which the weights replace
    components |= _read_beside(folder, config, names)
    dtypes: dict[str, str] = dict(stored.meta["dtypes"])
    return stored.family, config, components, {name: computing or dtypes[name] for name in dtypes}, dtypes


def _built(stored: StoredModel, name: str) -> Any:
    """A network without weights. It refuses sizes that it cannot have."""
    try:
        return stored.family[name].build(stored.config)
    except ValueError as error:
        raise ModelFolderError(f"{stored.folder / CONFIG}: {error}. Convert or download the model again.") from error


class OnFirstUse(Generic[M]):
    """An attribute: a network, whose weights are read when it is first asked for, by whichever thread.

    Nobody gets weights that are still to be read: two threads must not begin with that at once.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, model: Any, owner: type) -> M | None:
        networks, unread = model.__dict__["_networks"], model.__dict__["_unread"]
        if self._name in unread:
            with turn():
                if self._name in unread:
                    _read(networks[self._name])
                    unread.discard(self._name)
        network: M | None = networks.get(self._name)
        return network

    def __set__(self, model: Any, network: M | None) -> None:
        model.__dict__["_unread"].discard(self._name)
        model.__dict__["_networks"][self._name] = network


def _read(network: nn.Module) -> None:
    weights: list[tuple[str, mx.array]] = tree_flatten(network.parameters())  # type: ignore[assignment]
    ends = accumulate(weight.nbytes for _, weight in weights)
    for _, together in groupby(zip(ends, weights, strict=True), lambda each: each[0] // TOGETHER):
        try:
            mx.eval([weight for _, (_, weight) in together])
        except RuntimeError as error:
            _settle()
            raise ModelFolderError(
                f"the weights cannot be read any more ({plain(str(error))}): {WEIGHTS} or a shard was changed since "
                "the model was loaded. Load it again"
            ) from error


def _settle() -> None:
    """Let all reads end that were begun: MLX says of one that fails late that whatever is computed next has failed."""
    while True:
        try:
            mx.synchronize()
            return
        except RuntimeError:
            continue


def _check_config(stored: StoredModel) -> None:
    components = stored.family.parts(stored.meta["components"])
    try:
        check_counts(stored.config, components, stored.weights)
        check_agreement(stored.config, components)
    except FieldError as error:
        raise ModelFolderError(f"{stored.folder / CONFIG}: {error}. Convert or download the model again.") from error


def _read_beside(folder: Path, config: Any, names: list[str]) -> dict[str, Any]:
    """What a model folder may hold besides networks."""
    found: dict[str, Any] = {}
    tokenizer, speakers = folder / "tokenizer.json", folder / "spk2info.safetensors"
    try:
        # A link to nowhere is not taken for a folder without the file.
        if os.path.lexists(tokenizer):
            found["text_tokenizer"] = TextTokenizer.from_file(tokenizer)
        if os.path.lexists(speakers):
            found["speakers"] = read_spk2info_safetensors(speakers)
    except ValueError as error:
        raise ModelFolderError(str(error)) from error
    rows = config.llm.qwen.vocab_size
    if "llm" in names and len(found.get("text_tokenizer", ())) > rows:
        raise ModelFolderError(
            f"{tokenizer}: has {len(found['text_tokenizer'])} tokens, but llm.qwen.vocab_size in {CONFIG} is {rows}. "
            "Convert or download the model again."
        )
    return found

"""Reads a model folder: `config.json`, and the safetensors files, whole or in shards."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlx_cosyvoice.config import FORMAT_VERSION, FieldError, from_dict
from mlx_cosyvoice.families import FAMILIES, Family
from mlx_cosyvoice.foreign import CONVERT_AGAIN, describe_checkpoint, is_foreign_config, is_lfs_pointer
from mlx_cosyvoice.mixed import keep_float32
from mlx_cosyvoice.quantize import Quantization, layer_quantization, misfits, pack_layers, packed_layers
from mlx_cosyvoice.quoting import plain, quoted
from mlx_cosyvoice.strict import BadFileError, Header, read_header, read_json_object

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

#: Name of a dtype in config.json -> MLX's.
DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}

#: Bytes of config.json and of the index. Those of the full model have 4 kB and 0.2 MB.
MAX_JSON = 8 << 20

#: What safetensors files call those, and the numbers of packed layers.
STORED_DTYPES = ("F32", "F16", "BF16", "U32")

M = TypeVar("M", bound=nn.Module)

_HOW = "A model folder is written by: python -m converters CHECKPOINT --out DIR"
_AGAIN = "Convert or download the model again."


class ModelFolderError(ValueError):
    """A folder that is not a complete converted model; the message names the file or key and says what to do."""


def _few(names: list[str]) -> str:
    return ", ".join(map(plain, names[:6])) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path, MAX_JSON)
    except BadFileError as error:
        raise ModelFolderError(f"{path}: {error}. {_AGAIN}") from error


def read_config(folder: str | Path) -> tuple[Any, dict[str, Any]]:
    """The network's sizes, and what else `config.json` says.

    Returns:
        The config, and a dict with `family`, `format_version` (int), `components` (list of the family's names),
        `dtypes` (component -> "float32", "float16" or "bfloat16"), `layer_dtypes` (path of a module that is an
        exception -> "float32") and `quantization` (as `mlx_cosyvoice.quantize` describes it; None if nothing is
        packed). Sizes of components that the folder lacks are defaults.

    Raises:
        ModelFolderError: no such folder, no config.json, or one that this version cannot read.
    """
    folder = Path(folder)
    path = folder / CONFIG
    if not folder.is_dir():
        raise ModelFolderError(f"{folder}: no such folder. {_HOW}")
    if not os.path.lexists(path):
        checkpoint = describe_checkpoint(folder)
        if checkpoint:
            raise ModelFolderError(f"{folder}: {checkpoint}")
        raise ModelFolderError(f"{path}: no such file, so this is not a converted model. {_HOW}")
    content = _read_json(path)
    family = FAMILIES.get(str(content.get("model_type")))
    if family is None and not content:  # as CosyVoice3's official one is
        checkpoint = describe_checkpoint(folder)
        if checkpoint:
            raise ModelFolderError(f"{folder}: {checkpoint}")
    if family is None:
        raise ModelFolderError(
            f"{path}: model_type is {quoted(content.get('model_type'))}, not {' or '.join(map(repr, FAMILIES))}: "
            f"another kind of model. {_HOW}"
        )
    if is_foreign_config(content):
        raise ModelFolderError(f"{path}: the model was converted by another project; {CONVERT_AGAIN}")
    version = content.get("format_version")
    if type(version) is not int or version < 1:
        raise ModelFolderError(f"{path}: format_version must be a whole number from 1 on, not {quoted(version)}")
    if version > FORMAT_VERSION:
        raise ModelFolderError(
            f"{path}: format_version {version} is newer than {FORMAT_VERSION}, the latest that this mlx-cosyvoice "
            "knows: upgrade it, or convert the checkpoint again"
        )
    try:
        config: Any = from_dict(family.config, content)
    except FieldError as error:
        raise ModelFolderError(f"{path}: {error}") from error
    read = {**_read_components(path, content, family), **_read_precision(path, content, family)}
    return config, {"family": family, "format_version": version, **read}


def _read_components(path: Path, content: dict[str, Any], family: Family) -> dict[str, Any]:
    components, dtypes = content.get("components"), content.get("dtypes")
    known = isinstance(components, list) and all(name in family.names for name in components)
    if not known or not components or len(set(components)) < len(components):
        raise ModelFolderError(
            f"{path}: components must list some of {', '.join(family.names)}, each once, not {quoted(components)}"
        )
    if not isinstance(dtypes, dict) or any(dtypes.get(name) not in tuple(DTYPES) for name in components):
        raise ModelFolderError(
            f"{path}: dtypes must give one of {', '.join(DTYPES)} for each component: {quoted(dtypes)}"
        )
    return {"components": components, "dtypes": {name: dtypes[name] for name in components}}


def _read_precision(path: Path, content: dict[str, Any], family: Family) -> dict[str, Any]:
    layers, quantization = content.get("layer_dtypes", {}), content.get("quantization")
    if not isinstance(layers, dict) or any(dtype != "float32" for dtype in layers.values()):
        raise ModelFolderError(f"{path}: layer_dtypes must map paths of modules to 'float32', not {quoted(layers)}")
    strange = sorted(path for path in layers if path.split(".")[0] not in family.names)
    if strange:
        raise ModelFolderError(f"{path}: layer_dtypes names modules of no component: {_few(strange)}. {_AGAIN}")
    if quantization is not None and not isinstance(quantization, dict):
        raise ModelFolderError(
            f"{path}: quantization must be an object with group_size and bits: {quoted(quantization)}"
        )
    for layer in ("", *(quantization or {})):
        try:
            layer_quantization(quantization or {}, layer)
        except ValueError as error:
            raise ModelFolderError(f"{path}: quantization: {error}. Upgrade mlx-cosyvoice or convert again.") from error
    return {"layer_dtypes": layers, "quantization": quantization}


def weight_files(folder: str | Path) -> list[Path]:
    """The safetensors files of a model folder: `model.safetensors`, or the shards that the index names.

    Raises:
        ModelFolderError: there are none, a shard is missing, a download was broken off, or the index is not one.
    """
    folder = Path(folder)
    for part in (*folder.glob("*.incomplete"), *folder.glob(".cache/huggingface/download/*.incomplete")):
        raise ModelFolderError(
            f"{plain(str(part))}: a download that was broken off. Run the same download again; it goes on."
        )
    if os.path.lexists(folder / WEIGHTS):
        return [folder / WEIGHTS]
    if not os.path.lexists(folder / INDEX):
        broken_off = ": a download that was broken off? Download the model again" if (folder / CONFIG).is_file() else ""
        raise ModelFolderError(f"{folder}: holds neither {WEIGHTS} nor {INDEX}{broken_off}. {_HOW}")
    names = sorted(set(_weight_map(folder).values()))
    for name in names:
        if not (folder / name).exists():
            raise ModelFolderError(f"{folder / name}: no such file, but {INDEX} names it. Download the model again.")
    return [folder / name for name in names]


def _weight_map(folder: Path) -> dict[str, str]:
    """Key -> name of the shard that holds it, as the index says."""
    index = folder / INDEX
    weight_map = _read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise ModelFolderError(f"{index}: weight_map must be an object that maps keys to file names")
    for name in set(weight_map.values()):
        usual = name.isprintable() and name.endswith(".safetensors") and len(name.encode()) <= 255
        if Path(name).name != name or not usual:
            raise ModelFolderError(
                f"{index}: {quoted(name)} is not the name of a file in the folder that ends in .safetensors"
            )
    return weight_map


def _read_header(path: Path) -> Header:
    """MLX reads tensors when they are first used, which is too late to learn that a file was cut off."""
    try:
        if is_lfs_pointer(path):
            raise ModelFolderError(f"{path}: is a Git LFS pointer, not the file itself. Run: git lfs pull")
        header = read_header(path)
    except BadFileError as error:
        raise ModelFolderError(f"{path}: {error}. {_AGAIN}") from error
    for key, entry in header.tensors.items():
        if entry.dtype not in STORED_DTYPES:
            raise ModelFolderError(f"{path}: {plain(key)} has the dtype {entry.dtype}, which no model has. {_AGAIN}")
    return header


def load_weights(folder: str | Path) -> dict[str, mx.array]:
    """Every tensor of a model folder under `COMPONENT.official.path`; data are read when they are first used.

    Raises:
        ModelFolderError: files are missing, cut off or damaged; named.
        OSError: a file must not be read.
    """
    weights: dict[str, mx.array] = {}
    files: dict[str, str] = {}
    for path in weight_files(folder):
        header = _read_header(path)
        try:
            loaded = mx.load(str(path), format="safetensors")
        except (RuntimeError, ValueError) as error:
            raise ModelFolderError(f"{path}: cannot be read ({plain(str(error))}). {_AGAIN}") from error
        assert isinstance(loaded, dict)
        if {key: value.shape for key, value in loaded.items()} != {k: e.shape for k, e in header.tensors.items()}:
            raise ModelFolderError(f"{path}: changed while it was read. Try again.")
        twice = sorted(weights.keys() & loaded.keys())
        if twice:
            raise ModelFolderError(f"{path}: holds tensors that another file of the folder holds too: {_few(twice)}")
        weights.update(loaded)
        files.update(dict.fromkeys(loaded, path.name))
    if WEIGHTS not in files.values():
        _check_index(Path(folder), files)
    return weights


def _check_index(folder: Path, files: Mapping[str, str]) -> None:
    """Whether the shards hold what the index says, and nothing else: key -> name of the file."""
    weight_map = _weight_map(folder)
    wrong = sorted(key for key in weight_map.keys() | files.keys() if weight_map.get(key) != files.get(key))
    if wrong:
        raise ModelFolderError(f"{folder / INDEX}: the shards do not hold what it says of {_few(wrong)}. {_AGAIN}")


@dataclass(frozen=True)
class StoredModel:
    """A model folder of which everything but the tensors was read, once for all components.

    Attributes:
        folder: where it is.
        config: the network's sizes.
        meta: what else `config.json` says; see `read_config`.
        weights: as of `load_weights`.
    """

    folder: Path
    config: Any
    meta: dict[str, Any]
    weights: dict[str, mx.array]

    @property
    def family(self) -> Family:
        family: Family = self.meta["family"]
        return family

    @classmethod
    def open(cls, folder: str | Path) -> StoredModel:
        """Read config and headers.

        Raises:
            ModelFolderError: the folder is not a complete converted model; the file or key is named.
        """
        config, meta = read_config(folder)
        return cls(Path(folder), config, meta, load_weights(folder))

    def component(self, name: str) -> dict[str, mx.array]:
        """The weights of a component by their path in it; {} if the folder lacks it."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): value for key, value in self.weights.items() if key.startswith(prefix)}

    def packed(self, name: str) -> dict[str, Quantization]:
        """How the packed layers of a component are packed, by their path in it.

        Raises:
            ModelFolderError: config.json does not tell, or parts of a layer do not fit.
        """
        return _packed(self.folder, f"{name}.", self.component(name), self.meta["quantization"])

    def fill(self, model: M, name: str, *, dtype: str | None = None) -> M:
        """As `load_component`."""
        if dtype is not None and dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
        folder, prefix, weights = self.folder, f"{name}.", self.component(name)
        if not weights:
            raise ModelFolderError(f"{folder}: has no weights of {name!r}. Convert the checkpoint with that component.")
        packed = self.packed(name)
        kept = [path.removeprefix(prefix) for path in self.meta["layer_dtypes"] if path.startswith(prefix)]
        _check_modules(folder, prefix, weights, kept)
        stored = DTYPES[self.meta["dtypes"].get(name, "float32")]
        if dtype is None:
            try:
                pack_layers(model, packed)
            except KeyError as error:
                raise ModelFolderError(
                    f"{folder}: {prefix}{error.args[0]} is quantized, but the network has no such layer of that size. "
                    "Convert it again."
                ) from error
            weights = {k: v.astype(stored) if k.endswith((".scales", ".biases")) else v for k, v in weights.items()}
        else:
            weights = unpacked_weights(weights, packed)
            exact = self.family[name].always_float32
            weights = {k: v if exact(k) else v.astype(DTYPES[dtype]) for k, v in weights.items()}
        _check_fit(model, weights, folder, prefix)
        model.load_weights(list(weights.items()), strict=False)  # what strict would check has just been checked
        if dtype is None:
            keep_float32(model, kept, stored)
        model.eval()
        return model


def load_component(model: M, folder: str | Path, name: str, *, dtype: str | None = None) -> M:
    """Fill `model` with the weights of one component, checked in both directions.

    Args:
        model: the component's module, built for the folder's config. Layers that the folder holds packed are put in
            the place of its own.
        folder: a model folder.
        name: of the component.
        dtype: compute in this instead of what the folder holds, packed and mixed weights too; a key of `DTYPES`.

    Returns:
        `model`, in evaluation mode, with the dtype that the folder has.

    Raises:
        ModelFolderError: the folder lacks the component, or keys or shapes do not fit; all are named.
        ValueError: `dtype` is not known.
    """
    return StoredModel.open(folder).fill(model, name, dtype=dtype)


def _packed(
    folder: str | Path, prefix: str, weights: dict[str, mx.array], settings: dict[str, Any] | None
) -> dict[str, Quantization]:
    """Path -> how it is packed, of the packed layers among the weights."""
    layers = {path: layer_quantization(settings or {}, prefix + path) for path in packed_layers(weights)}
    unknown = sorted(prefix + path for path, quantization in layers.items() if settings is None or quantization is None)
    if unknown:
        raise ModelFolderError(
            f"{Path(folder) / CONFIG}: quantization does not tell how these layers are packed: {_few(unknown)}. "
            + _AGAIN
        )
    parts = [f"{path}.{part}" for path in layers for part in ("weight", "biases")]
    lacking = [prefix + part for part in parts if part not in weights]
    if lacking:
        raise ModelFolderError(f"{folder}: the weights do not fit (missing: {_few(lacking)}). Convert it again.")
    packed = {path: quantization for path, quantization in layers.items() if quantization is not None}
    wrong = [prefix + misfit for misfit in misfits(weights, packed)]
    if wrong:
        raise ModelFolderError(f"{folder}: the weights do not fit (wrongly packed: {_few(wrong)}). {_AGAIN}")
    return packed


def _check_modules(folder: Path, prefix: str, weights: Mapping[str, mx.array], paths: list[str]) -> None:
    """Whether `layer_dtypes` names modules that have weights."""
    modules = {".".join(parts[:end]) for parts in (key.split(".") for key in weights) for end in range(1, len(parts))}
    unknown = sorted(prefix + path for path in paths if path not in modules)
    if unknown:
        raise ModelFolderError(
            f"{folder / CONFIG}: layer_dtypes names modules that have no weights: {_few(unknown)}. {_AGAIN}"
        )


def unpacked_weights(weights: dict[str, mx.array], packed: Mapping[str, Quantization]) -> dict[str, mx.array]:
    """The same weights with the packed ones in full, in float32."""
    full = dict(weights)
    for path, quantization in packed.items():
        parts = (full.pop(f"{path}.{part}") for part in ("weight", "scales", "biases"))
        full[f"{path}.weight"] = quantization.unpack(*parts)
    return full


def _check_fit(model: nn.Module, weights: dict[str, mx.array], folder: str | Path, prefix: str) -> None:
    parameters: list[tuple[str, mx.array]] = tree_flatten(model.parameters())  # type: ignore[assignment]
    expected = {key: value.shape for key, value in parameters}
    missing = [prefix + key for key in sorted(expected.keys() - weights.keys())]
    surplus = [prefix + key for key in sorted(weights.keys() - expected.keys())]
    wrong = [
        f"{prefix}{key} {list(weights[key].shape)} instead of {list(expected[key])}"
        for key in sorted(expected.keys() & weights.keys())
        if tuple(weights[key].shape) != tuple(expected[key])
    ]
    problems = [
        f"{what}: {_few(names)}"
        for what, names in (("missing", missing), ("not part of the network", surplus), ("wrong shape", wrong))
        if names
    ]
    if problems:
        raise ModelFolderError(f"{folder}: the weights do not fit ({'; '.join(problems)}). Convert it again.")

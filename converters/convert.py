"""Official checkpoint folder in, MLX model folder out."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlx.nn as nn
import numpy as np
from tqdm import tqdm

from converters.checkpoint import Source, check_content, config_of, open_source, require_files
from converters.errors import CheckpointError
from converters.families import official_of
from converters.layout import Files
from converters.model_card import CARD, model_card
from converters.overflow import Reach, overflowing
from converters.qwen import TEXT_FILES
from converters.record import audit_record, config_json, hashes, quantization_record, versions, write_json
from converters.storage import Storage, check_kept, check_quantizable, quantization_settings
from converters.write import FORMATS, MAX_SHARD_BYTES, Entry, SafetensorsWriter
from mlx_cosyvoice.config import FORMAT_VERSION
from mlx_cosyvoice.families import Family
from mlx_cosyvoice.nn.official import KeyAudit, audit_keys, from_official, own_from_official
from mlx_cosyvoice.quantize import Quantization
from mlx_cosyvoice.text import build_tokenizer
from mlx_cosyvoice.voices import Voice, VoiceError, read_spk2info, write_spk2info_safetensors
from mlx_cosyvoice.weights import CONFIG
from reference.folders.new_folder import check_free, new_folder

RECORD = "conversion.json"


@dataclass(frozen=True)
class ConversionReport:
    """What was written.

    Attributes:
        out: the model folder.
        config: the network's sizes.
        dtypes: component -> dtype of its weights.
        audits: component -> what became of every official key.
        nbytes: size of all weights.
        record: the content of conversion.json.
        warnings: what was left out of the model though the checkpoint has it, and why; a line each.
    """

    out: Path
    config: Any
    dtypes: dict[str, str]
    audits: dict[str, KeyAudit]
    nbytes: int
    record: dict[str, Any]
    warnings: list[str]


@dataclass
class _Part:
    """A component on its way: its MLX module (never filled), and where its tensors come from."""

    name: str
    module: nn.Module
    source: Source
    audit: KeyAudit


def is_model_folder(folder: Path) -> bool:
    return (folder / RECORD).is_file()


def convert(
    checkpoint: str | Path,
    out: str | Path,
    *,
    dtype: str = "float32",
    components: Iterable[str] | None = None,
    keep_float32: Iterable[str] | None = None,
    keep_float32_layers: Iterable[str] = (),
    quantize: int | None = None,
    group_size: int = 64,
    quantize_components: Iterable[str] = ("llm",),
    force: bool = False,
    source: str | None = None,
    llm: str | Path | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    progress: bool = False,
) -> ConversionReport:
    """Write the MLX model folder `out`, whole or not at all. The same input gives the same bytes.

    Args:
        checkpoint: an official checkpoint folder.
        out: a folder that does not exist yet.
        dtype: "float32", "float16" or "bfloat16", rounded to nearest. A component whose numbers float16 cannot hold is
            stored in bfloat16 instead.
        components: which ones to convert; None for all.
        keep_float32: components that stay float32 whatever `dtype` is; None for those that the family wants so.
        keep_float32_layers: official paths of modules ("flow.encoder.embed") that stay float32 with all below them,
            whatever `dtype` and `quantize` are.
        quantize: 4 or 8: pack the weights of Linear and Embedding layers into so many bits; what is not packed has
            `dtype`. A layer whose width is no multiple of `group_size` stays in full.
        group_size: 32, 64 or 128, how many weights share a scale.
        quantize_components: some of those that may be packed.
        force: replace `out`, once its successor is complete, if it is a converted model.
        source: what the model card calls the checkpoint; default: the name of its folder.
        llm: another file for the language model's weights, of the same sizes; a path, or a file's name ("llm.rl.pt").
        max_shard_bytes: larger weights are cut into several files.
        progress: show bars on stderr for what takes longer than two seconds.

    Raises:
        ValueError: an argument that is not one of the choices, or `out` and `checkpoint` lie in each other.
        CheckpointError: a file is missing, damaged, or carries code.
        ConfigError: the YAML or config.json has a value that the MLX network does not support.
        OnnxLayoutError: an ONNX file without the expected nodes.
        OfficialKeyError: a missing, surplus or mis-shaped key.
        FileExistsError: `out` exists (see `force`).
        OSError: the disk is full, or `out` cannot be written to.
    """
    folder, out = Path(checkpoint).expanduser(), Path(out).expanduser()
    family = official_of(folder).family
    chosen = _choice("components", family.names if components is None else components, family)
    dtypes = _dtypes(dtype, chosen, keep_float32, family)
    _check_out(folder, out, force)
    files = require_files(folder, chosen, llm)
    packing = _packing(quantize, group_size, quantize_components, chosen, family)
    with new_folder(out, force=force, replaceable=is_model_folder) as part_folder:
        plan = _plan(files, dtypes, list(keep_float32_layers), packing)
        _check_room(out, plan.nbytes)
        _avoid_overflow(plan, progress)
        _write_weights(plan, part_folder, max_shard_bytes, progress)
        record = plan.record(source or folder.resolve().name, dtype, progress)
        _write_rest(plan, record, part_folder)
    return ConversionReport(out, plan.config, plan.dtypes, plan.audits, plan.nbytes, record, plan.warnings)


def _dtypes(dtype: str, chosen: list[str], kept: Iterable[str] | None, family: Family) -> dict[str, str]:
    """Component -> dtype of its weights; `kept` stay float32, None for those that the family wants so."""
    exact = [one.name for one in family.components if one.float32]
    exact = _choice("keep_float32", exact if kept is None else kept, family)
    if dtype not in FORMATS:
        raise ValueError(f"dtype must be one of {', '.join(FORMATS)}, not {dtype!r}")
    return {name: "float32" if name in exact else dtype for name in chosen}


def _packing(
    bits: int | None, group_size: int, components: Iterable[str], chosen: list[str], family: Family
) -> dict[str, Quantization]:
    """Component -> how its layers are packed, for those that are; none where `bits` is None."""
    if bits is None:
        return {}
    quantization = Quantization(bits, group_size)
    packed = check_quantizable(components, family)
    absent = [name for name in packed if name not in chosen]
    if absent:
        raise ValueError(f"quantize_components: {', '.join(absent)} is not among the components that are converted")
    return dict.fromkeys(packed, quantization)


@dataclass
class _Plan:
    """All that is known of a model before its weights are read: they are found, and fit the network."""

    files: Files
    config: Any
    dtypes: dict[str, str]
    parts: dict[str, _Part]
    storages: dict[str, Storage]
    tokenizer: str | None
    speakers: dict[str, Voice]
    warnings: list[str]
    #: Component -> what float16 could not hold, for which it has another dtype.
    overflow: dict[str, list[Reach]] = field(default_factory=dict)

    @property
    def layer_dtypes(self) -> dict[str, str]:
        return {path: kept for storage in self.storages.values() for path, kept in storage.layer_dtypes.items()}

    @property
    def entries(self) -> list[Entry]:
        return [entry for storage in self.storages.values() for entry in storage.entries()]

    @property
    def audits(self) -> dict[str, KeyAudit]:
        return {name: part.audit for name, part in self.parts.items()}

    @property
    def nbytes(self) -> int:
        return sum(entry.nbytes for entry in self.entries)

    def record(self, source: str, dtype: str, progress: bool) -> dict[str, Any]:
        """The content of conversion.json."""
        origins = self.files.official.origins
        return {
            "format_version": FORMAT_VERSION,
            "source": source,
            "synthetic": (self.files.folder / "synthetic.json").is_file(),
            "files": hashes(self.files.recorded(), progress),
            "versions": versions(),
            "dtype": dtype,
            "dtypes": self.dtypes,
            "layer_dtypes": self.layer_dtypes,
            "overflow": {name: [str(reach) for reach in found] for name, found in self.overflow.items()},
            "quantization": quantization_record(self.storages.values()),
            "keys": {
                name: audit_record(
                    part.module,
                    part.audit,
                    {key: added.origin for key, added in origins[name].added.items()},
                )
                for name, part in self.parts.items()
            },
            "stripped": {name: part.source.stripped for name, part in self.parts.items() if part.source.stripped},
            "speakers": sorted(self.speakers),
            "warnings": self.warnings,
        }


def _plan(files: Files, dtypes: dict[str, str], kept_layers: list[str], packing: dict[str, Quantization]) -> _Plan:
    """Open the components that `dtypes` names, and check all that can be checked without reading weights."""
    sources = {name: open_source(files, name) for name in dtypes}
    config = config_of(files, sources)
    family = files.official.family
    parts = {name: _part(name, config, sources[name], files) for name in dtypes}
    kept = check_kept(kept_layers, {name: part.module for name, part in parts.items()}, family)
    storages = {
        name: Storage(family[name], part.module, dtypes[name], kept, packing.get(name)) for name, part in parts.items()
    }
    tokenizer = _tokenizer_json(files, config) if TEXT_FILES[0] in files.paths else None
    speakers, warnings = _speakers(files)
    return _Plan(files, config, dtypes, parts, storages, tokenizer, speakers, warnings)


def _speakers(files: Files) -> tuple[dict[str, Voice], list[str]]:
    """The speakers of the checkpoint. A model is whole without them: a wrong file is a warning only."""
    if not files.speakers.is_file():
        return {}, []
    try:
        check_content(files.speakers)
        family = (files.official.family.model_type,)
        speakers = read_spk2info(files.speakers).items()
        return {name: replace(voice, families=family) for name, voice in speakers}, []
    except (CheckpointError, VoiceError) as error:
        return {}, [f"{error}. The model is converted without the speakers of this file."]


def _avoid_overflow(plan: _Plan, progress: bool) -> None:
    """Store in bfloat16, instead of float16, those components whose numbers float16 cannot hold."""
    official = plan.files.official
    half = [name for name, dtype in plan.dtypes.items() if dtype == "float16"]
    for name in tqdm(half, desc="largest numbers", delay=2, disable=not progress):
        part, storage = plan.parts[name], plan.storages[name]
        network = official.family[name].build(plan.config)
        found = overflowing(
            network,
            partial(official.origins[name].trial, network, plan.config, np.random.default_rng(0)),
            partial(own_from_official, fetch=part.source.fetch, where=str(part.source.file)),
            storage.declared.always_float32,
            [path.removeprefix(f"{name}.") for path in storage.exceptions],
        )
        part.source.release()
        if found:
            plan.dtypes[name] = "bfloat16"
            plan.storages[name] = replace(storage, dtype="bfloat16")
            plan.overflow[name] = [reach._replace(path=f"{name}.{reach.path}") for reach in found]


def _write_weights(plan: _Plan, folder: Path, max_shard_bytes: int, progress: bool) -> None:
    with (
        SafetensorsWriter(folder, plan.entries, max_shard_bytes) as writer,
        tqdm(total=plan.nbytes, unit="B", unit_scale=True, desc="weights", delay=2, disable=not progress) as bar,
    ):
        for name, part in plan.parts.items():
            _write_part(part, plan.storages[name], writer, bar.update)
            part.source.close()


def _write_rest(plan: _Plan, record: dict[str, Any], folder: Path) -> None:
    """The small files. The record comes last: it is the mark of a whole model."""
    if plan.tokenizer is not None:
        (folder / "tokenizer.json").write_text(plan.tokenizer, encoding="utf-8")
    if plan.speakers:
        write_spk2info_safetensors(folder / "spk2info.safetensors", plan.speakers)
    settings = quantization_settings(plan.storages.values())
    official = plan.files.official
    sizes = config_json(official.family, plan.config, list(plan.dtypes), plan.dtypes, plan.layer_dtypes, settings)
    (folder / CARD).write_text(model_card(record, official), encoding="utf-8")
    write_json(folder / CONFIG, sizes)
    write_json(folder / RECORD, record)


def _choice(argument: str, components: Iterable[str], family: Family) -> list[str]:
    """The components, each once, in their usual order."""
    names = list(components)
    for name in names:
        if name not in family.names:
            raise ValueError(f"{argument}: {name!r} is not one of {', '.join(family.names)}")
    if not names and argument == "components":
        raise ValueError(f"components: name at least one of {', '.join(family.names)}")
    return [name for name in family.names if name in names]


def _check_out(checkpoint: Path, out: Path, force: bool) -> None:
    inner, outer = out.resolve(), checkpoint.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise ValueError(f"{out}: lies inside the checkpoint {checkpoint}, or around it; choose another output folder")
    check_free(out, force=force, replaceable=is_model_folder)


def _check_room(out: Path, nbytes: int) -> None:
    parent = next(path for path in out.resolve().parents if path.exists())
    free = shutil.disk_usage(parent).free
    if free < nbytes:
        raise OSError(errno.ENOSPC, f"the model needs {nbytes / 1e9:.2f} GB, {free / 1e9:.2f} GB are free", str(parent))


def _part(name: str, config: Any, source: Source, files: Files) -> _Part:
    component = files.official.family[name]
    try:
        module = component.build(config)
    except ValueError as error:
        raise CheckpointError(f"{files.yaml}: {name}: {error}") from error
    for key, added in files.official.origins[name].added.items():
        if key in source.tensors:
            raise CheckpointError(f"{source.file}: holds {key}, which is no part of an official {component.file}")
        source.tensors[key] = added.make(config)
    return _Part(name, module, source, audit_keys(module, set(source.tensors), str(source.file)))


def _write_part(part: _Part, storage: Storage, writer: SafetensorsWriter, advance: Callable[[int], Any]) -> None:
    for converted in from_official(part.module, part.source.fetch, str(part.source.file)):
        name = f"{part.name}.{converted.name}"
        try:
            for stored, array in storage.stored(name, converted.array):
                advance(writer.write(stored, array))
        except OverflowError as error:
            raise CheckpointError(
                f"{part.source.file}: {name} {error}: convert with --dtype bfloat16, or --keep-float32 {part.name}"
            ) from error


def _tokenizer_json(files: Files, config: Any) -> str:
    vocab, merges, tokenizer_config = (files.paths[name] for name in TEXT_FILES)
    tokenizer = build_tokenizer(vocab, merges, tokenizer_config, special_tokens=files.official.family.special_tokens)
    size, rows = tokenizer.get_vocab_size(with_added_tokens=True), config.llm.qwen.vocab_size
    if size > rows:
        raise CheckpointError(
            f"{vocab}: makes {size} tokens with the special ones, but the language model has {rows} "
            "embeddings only; the files do not belong together"
        )
    return tokenizer.to_str()

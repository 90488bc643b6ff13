"""A folder with what a reference did in each stage: `capture` writes it, `captured_in` reads it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlx_parity.captures.values import CaptureError, read_values, write_values
from mlx_parity.localization.beside import Beside
from mlx_parity.localization.captured import Captured, captures
from mlx_parity.localization.isolate import Call
from mlx_parity.localization.recordings import CallsBeside, RecordingBeside
from mlx_parity.report.data import versions
from mlx_parity.sides.recorded import Recorded
from mlx_parity.stage import Given, Outputs, Stage

#: Raised when files change their meaning.
SCHEMA_VERSION = 1
MANIFEST = "capture.json"
TYPES = (Beside, Call, Outputs, Recorded)
PACKAGES = ("torch", "mlx", "numpy", "transformers")
#: What is kept of a stage as it is.
KEPT = ("outputs", "isolated_outputs", "exact_outputs", "types", "constants", "seconds")


def capture(
    folder: Path,
    stages: Sequence[Stage],
    inputs: Mapping[str, Any],
    *,
    pair: Any = None,
    chosen: Sequence[Stage] | None = None,
    settings: Any = None,
    seed: int = 0,
    about: Mapping[str, Any] | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> Path:
    """Run the reference through the stages, and write what it did. The manifest comes last: without it there is none.

    Args:
        folder: made if it is missing; a capture that is there is replaced.
        stages: the pipeline.
        inputs: arrays and texts by name.
        pair: handed to the stages.
        chosen: those of the stages to capture; None: all.
        settings: handed to the stages.
        seed: of the tape.
        about: what the capture is of, as plain data: `captured_in` is asked for the same.
        progress: called with what is going on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    names = []
    for one in captures(pair, dict(inputs), stages, stages if chosen is None else chosen, settings, seed, progress):
        write_captured(one, _file(folder, one.stage.name), one.stage.dtype(pair))
        names.append(one.stage.name)
    head = {
        "schema_version": SCHEMA_VERSION,
        "stages": names,
        "about": {**(about or {})},
        "versions": versions(PACKAGES),
    }
    (folder / MANIFEST).write_text(json.dumps(head, indent=1) + "\n", encoding="utf-8")
    return folder


def captured_in(
    folder: Path, stages: Sequence[Stage], *, pair: Any = None, about: Mapping[str, Any] | None = None
) -> Iterator[Captured]:
    """What was captured, stage by stage, each read when it is asked for.

    Args:
        folder: written by `capture`.
        stages: the pipeline; those that were not captured are left out.
        pair: handed to the stages.
        about: what the capture has to be of.

    Raises:
        CaptureError: no capture is there, it is of something else, or a file of it is damaged.
    """
    try:
        head = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise CaptureError(f"{folder}: no whole capture is there ({type(error).__name__}); make one first") from error
    if head["schema_version"] != SCHEMA_VERSION:
        raise CaptureError(f"{folder}: schema {head['schema_version']}, this version reads {SCHEMA_VERSION}")
    for name, wanted in (about or {}).items():
        if head["about"].get(name) != wanted:
            raise CaptureError(f"{folder}: its {name} is {head['about'].get(name)!r}, not {wanted!r}; capture it again")
    for stage in stages:
        if stage.name in head["stages"]:
            yield read_captured(stage, _file(folder, stage.name), stage.dtype(pair))
            stage.let_go()


def write_captured(one: Captured, path: Path, dtype: str) -> None:
    """Write what was captured of one stage in a dtype: a JSON file, and one of arrays beside it."""
    write_values({"dtype": dtype, **_as_value(one)}, path)


def read_captured(stage: Stage, path: Path, dtype: str) -> Captured:
    """What `write_captured` wrote.

    Raises:
        CaptureError: it is damaged, or of another dtype.
    """
    value = read_values(path, (*TYPES, *stage.details))
    if value["dtype"] != dtype:
        raise CaptureError(f"{path}: of {value['dtype']}, the port works in {dtype}; capture it again")
    return _as_captured(stage, value)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _as_value(one: Captured) -> dict[str, Any]:
    exact = one.exact.held if isinstance(one.exact, CallsBeside) else one.exact
    layers = one.layers.held if isinstance(one.layers, RecordingBeside) else one.layers
    return {
        "inputs": dict(one.given),
        "settings": one.given.settings,
        "seed": one.given.seed,
        "calls": [replace(call, state=None) for call in one.calls.values()],
        "exact": [replace(call, state=None) for call in exact.values()],
        "layers": layers,
        "modules": one.stage.recorded(),
        **{name: getattr(one, name) for name in KEPT},
    }


def _as_captured(stage: Stage, value: dict[str, Any]) -> Captured:
    calls, exact = ({call.key: call for call in value[name]} for name in ("calls", "exact"))
    return Captured(
        stage=stage.recalled(value["modules"]),
        given=Given(value["inputs"], value["settings"], value["seed"]),
        calls=calls,
        exact=CallsBeside(exact),
        layers=RecordingBeside(calls, value["layers"]),
        **{name: value[name] for name in KEPT},
    )

"""The golden numbers of `tests/golden/`, and how a model is filled and probed to be held against them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from reference.synthetic import recipe

GOLDEN = Path(__file__).parent.parent / "golden"
PROBES = 48


class Golden:
    """One golden file: named arrays, and probes (mean, std, 48 values) of modules."""

    def __init__(self, name: str) -> None:
        with safe_open(GOLDEN / f"{name}.safetensors", "np") as file:
            self.metadata = {k: v if k == "seed" else json.loads(v) for k, v in file.metadata().items()}
            self.arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        self.shapes: dict[str, list[int]] = self.metadata.get("shapes", {})

    def __getitem__(self, key: str) -> np.ndarray:
        return self.arrays[key]

    @property
    def probes(self) -> dict[str, np.ndarray]:
        return {key.removeprefix("probe/"): value for key, value in self.arrays.items() if key.startswith("probe/")}


@cache
def golden(name: str) -> Golden:
    return Golden(name)


def golden_name(component: str, size: str, family: str = "cosyvoice2") -> str:
    """What the golden files of a component are called."""
    if component == "campplus":  # the same file in all families, in one size
        return component
    return f"{component}{'3' if family == 'cosyvoice3' else ''}.{size}"


def official_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Every official key and its shape; `name` as in `state_dict.NAME.json`."""
    return {k: tuple(v) for k, v in json.loads((GOLDEN / f"state_dict.{name}.json").read_text()).items()}


def recipe_state_dict(name: str, prefix: str = "") -> dict[str, np.ndarray]:
    """The recipe weights under the official keys. `prefix` as the golden README gives it for the stage."""
    tied = {"llm.model.lm_head.weight": "llm.model.model.embed_tokens.weight"}
    return {k: recipe.parameter(prefix + tied.get(k, k), shape) for k, shape in official_shapes(name).items()}


def as_torch(state_dict: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {k: torch.from_numpy(np.require(v, requirements=("C", "A", "W"))) for k, v in state_dict.items()}


class ProbeRecorder:
    """A sink for `mlx_parity.taps` taps that keeps the first output of each module at the golden positions."""

    def __init__(self, wanted: Iterable[str]) -> None:
        self.wanted = set(wanted)
        self.values: dict[str, np.ndarray] = {}
        self.shapes: dict[str, list[int]] = {}

    def __call__(self, path: str, call: int, output: np.ndarray) -> None:
        if path not in self.wanted or path in self.values or not output.size:
            return
        flat = output.reshape(-1)
        positions = recipe.integers("probe/" + path, (PROBES,), flat.size)
        self.values[path] = np.concatenate([[flat.mean(), flat.std(ddof=1) if flat.size > 1 else 0], flat[positions]])
        self.shapes[path] = list(output.shape)


def assert_probes(recorder: ProbeRecorder, file: Golden, tolerance: float) -> None:
    """Every golden probe was observed, has the golden shape, and lies within `tolerance` of the module's std.

    The failure names the first wrong module in data-flow order (the order of the golden file's shapes).
    """
    wrong: list[str] = []
    for path in file.shapes:
        expected = file.probes[path]
        if path not in recorder.values:
            wrong.append(f"{path}: not observed")
        elif recorder.shapes[path] != file.shapes[path]:
            wrong.append(f"{path}: shape {recorder.shapes[path]}, official {file.shapes[path]}")
        else:
            error = float(np.abs(recorder.values[path][2:] - expected[2:]).max())
            bound = tolerance * float(expected[1])
            if not error <= bound:
                wrong.append(f"{path}: max abs {error:.3g}, allowed {bound:.3g} (std {expected[1]:.3g})")
    assert not wrong, f"{len(wrong)} of {len(file.shapes)} probes are wrong, the first ones:\n  " + "\n  ".join(
        wrong[:12]
    )


def assert_close(actual: Any, expected: np.ndarray, max_abs: float, name: str) -> None:
    """Same shape, finite, and max |actual - expected| <= max_abs."""
    actual = np.asarray(actual)
    assert actual.shape == expected.shape, f"{name}: shape {actual.shape}, golden {expected.shape}"
    assert np.isfinite(actual).all(), f"{name}: {np.sum(~np.isfinite(actual))} values are not finite"
    error = float(np.abs(actual - expected).max())
    assert error <= max_abs, f"{name}: max abs {error:.3g} > {max_abs:.3g}"

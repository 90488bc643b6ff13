"""Runs one case on its sides by turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from parity.bench.cases import Case

Runs = dict[str, list[dict[str, Any]]]


def alternate(workers: Mapping[str, Any], repeats: int) -> Runs:
    """Let every worker run its prepared job `repeats` times, by turns (A B A B ...): both meet the same load."""
    runs: Runs = {side: [] for side in workers}
    for _ in range(repeats):
        for side, worker in workers.items():
            runs[side].append(worker.ask("run"))
    return runs


@dataclass
class Result:
    """What was measured of a case.

    Attributes:
        runs: side -> the replies to "run", in order; without the warm-up.
        first: side -> the reply to the first "run" of the process, the warm-up: nothing is cached yet.
        loads: side -> the reply to "load".
        memory: side -> the reply to "memory" after the last run.
        flops: operations of one run, or 0 where nobody counted.
        difference: largest difference of the two outputs over the reference's standard deviation, or None.
    """

    case: Case
    runs: Runs = field(default_factory=dict)
    first: dict[str, dict[str, Any]] = field(default_factory=dict)
    loads: dict[str, dict[str, Any]] = field(default_factory=dict)
    memory: dict[str, dict[str, int]] = field(default_factory=dict)
    flops: int = 0
    difference: float | None = None

    def seconds(self, side: str) -> list[float]:
        return [run["seconds"] for run in self.runs.get(side, [])]

    def ratio(self) -> float | None:
        """MLX time / PyTorch time, of medians: below 1, MLX is faster. None where only one side ran."""
        return self._ratio("seconds")

    def _ratio(self, what: str) -> float | None:
        if not {"mlx", "pytorch"} <= self.runs.keys():
            return None
        mlx, pytorch = (statistics.median(run[what] for run in self.runs[side]) for side in ("mlx", "pytorch"))
        return mlx / pytorch

    def to_dict(self, limits: Mapping[str, float]) -> dict[str, Any]:
        """Plain data; `limits` are the machine's own, see `suite`."""
        data: dict[str, Any] = {"title": self.case.title}
        if self.case.audio_seconds is not None:
            data["audio_seconds"] = self.case.audio_seconds
        for name, value in (("tokens", self.case.tokens), ("flops", self.flops), ("bytes", self.case.memory_bytes)):
            if value:
                data[name] = value
        data["sides"] = {side: self._side(side, limits) for side in self.runs}
        if self.ratio() is not None:
            data["ratio"] = self.ratio()
            data["ratio_of_fastest"] = min(self.seconds("mlx")) / min(self.seconds("pytorch"))
            data["ratio_of_cpu_seconds"] = self._ratio("cpu_seconds")
        if self.difference is not None:
            data["difference"] = self.difference
        return data

    def _side(self, side: str, limits: Mapping[str, float]) -> dict[str, Any]:
        runs = self.runs[side]
        seconds = summary(self.seconds(side))
        median = seconds["median"]
        data: dict[str, Any] = {
            "seconds": seconds,
            "cpu_seconds": summary([run["cpu_seconds"] for run in runs]),
            "load_seconds": self.loads[side]["seconds"],
            "memory": {"loaded_bytes": self.loads[side]["resident_bytes"], **self.memory[side]},
        }
        if self.case.audio_seconds:
            data["real_time_factor"] = median / self.case.audio_seconds
        if self.case.tokens:
            data["tokens_per_second"] = self.case.tokens / median
        if self.flops:
            data["flops_per_second"] = self.flops / median
            data["share_of_matmul_limit"] = self.flops / median / limits["matmul_flops"]
        if self.case.memory_bytes:
            data["bytes_per_second"] = self.case.memory_bytes / median
            data["share_of_memory_limit"] = self.case.memory_bytes / median / limits["read_bytes"]
        if side in self.first:
            data["first_run"] = {name: value for name, value in self.first[side].items() if value}
        if runs[0]["numbers"]:
            data["numbers"] = {name: summary([run["numbers"][name] for run in runs]) for name in runs[0]["numbers"]}
        if runs[0]["laps"]:
            # lap by lap the median of every number
            laps = zip(*(run["laps"] for run in runs), strict=True)
            data["laps"] = [{name: statistics.median(lap[name] for lap in same) for name in same[0]} for same in laps]
        return data


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Median, extremes and all samples of one thing, as plain data."""
    return {"median": statistics.median(samples), "min": min(samples), "max": max(samples), "samples": list(samples)}


def difference(paths: Mapping[str, Path]) -> float | None:
    """How far two outputs are apart, in standard deviations of the reference's. None where a side made none."""
    if not all(path.exists() for path in paths.values()) or len(paths) < 2:
        return None
    mlx, pytorch = (np.load(paths[side]).astype(np.float64) for side in ("mlx", "pytorch"))
    if mlx.shape != pytorch.shape:
        raise ValueError(f"{paths['mlx'].stem}: the sides made {mlx.shape} and {pytorch.shape}")
    return float(np.abs(mlx - pytorch).max() / max(pytorch.std(), 1e-30))


def measure(case: Case, open_worker: Callable[[str], Any], repeats: int, scratch: Path) -> Result:
    """Measure a case in processes of its own, one a side, that hold no more than it needs.

    Args:
        open_worker: side -> a `Worker` (a context manager).
        repeats: runs of each side, after one warm-up that is not counted.
        scratch: a folder for inputs and outputs.
    """
    result = Result(case)
    inputs = scratch / f"{case.name}.npz"
    np.savez(inputs, **dict(case.inputs))  # type: ignore[arg-type]
    outputs = {side: scratch / f"{case.name}.{side}.npy" for side in case.sides}
    with ExitStack() as stack:
        workers: dict[str, Any] = {}
        for side in case.sides:
            worker = workers[side] = stack.enter_context(open_worker(side))
            result.loads[side] = worker.ask("load", component=case.component)
            worker.ask("prepare", job=case.job, inputs=str(inputs), settings=dict(case.settings))
        if case.warm_up:
            for side, worker in workers.items():
                result.first[side] = worker.ask("run", output=str(outputs[side]))
        result.runs = alternate(workers, repeats)
        result.memory = {side: worker.ask("memory") for side, worker in workers.items()}
        if "pytorch" in workers and case.job != "load":
            result.flops = workers["pytorch"].ask("flops")["flops"]
    result.difference = difference(outputs)
    inputs.unlink()
    return result

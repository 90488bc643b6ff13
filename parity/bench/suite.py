"""The whole benchmark: which cases, on which machine, and the result as plain data."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mlx_cosyvoice.weights import read_config
from parity.bench import cases, machine
from parity.bench.cases import Case, Config
from parity.bench.measure import Result, measure
from parity.bench.processes import Worker
from parity.bench.streaming import streaming_ratios

#: Raised when a key of the JSON changes its meaning or goes away.
SCHEMA_VERSION = 1

#: What can be asked for beside the stages, and what it is.
EXTRAS = {
    "pipeline": "text to audio with all components: first-chunk latency, real-time factor, peak memory",
    "hops": "cost of every hop of every decoder, over the longest of --lengths",
    "lengths": "cost of flow and vocoder against length",
    "voice_prefill": "flow of the first hop, of a new voice and of a prefilled one",
    "load": "loading the whole model",
    "conversion": "converting the checkpoint, once",
}
#: Measured where nothing is asked for: all but what takes long.
DEFAULT = (*cases.MAKERS, "pipeline", "voice_prefill", "load", "conversion")
NAMES = (*cases.MAKERS, *EXTRAS)
DECODINGS = ("offline", "official", "incremental")

#: Sizes of the machine's own limits: large enough that no cache holds them.
MATMUL, READ_FLOATS = 2048, 64 * 2**20


@dataclass(frozen=True)
class Options:
    """What to measure and how.

    Attributes:
        stages: names out of `NAMES`.
        repeats: counted runs of each side, after one warm-up.
        threads: of every library on both sides.
        lengths: seconds of speech for `lengths`; the longest one is said for `hops`.
        steps: Euler steps of the flow, wherever it runs.
        limit_sizes: matrix size and number of floats for the machine's own limits.
    """

    stages: Sequence[str] = DEFAULT
    repeats: int = 5
    threads: int = 0
    lengths: Sequence[float] = (2, 5, 10, 20, 40)
    steps: int = cases.EULER_STEPS
    limit_sizes: tuple[int, int] = (MATMUL, READ_FLOATS)

    def __post_init__(self) -> None:
        unknown = [name for name in self.stages if name not in NAMES]
        if unknown:
            raise ValueError(f"--stages: {', '.join(unknown)} is none of {', '.join(NAMES)}, all")
        if self.repeats < 1:
            raise ValueError(f"--repeats must be at least 1, not {self.repeats}")
        if self.steps < 1:
            raise ValueError(f"--steps must be at least 1, not {self.steps}")
        if not self.threads:
            object.__setattr__(self, "threads", machine.cores())


def chosen_cases(options: Options, config: Config, scratch: Path) -> Iterator[tuple[Case, int]]:
    """The cases to measure, and how often each."""
    for name in options.stages:
        for case in _cases(name, options, config, scratch):
            yield cases.with_steps(case, options.steps), 1 if name == "conversion" else options.repeats


def _cases(name: str, options: Options, config: Config, scratch: Path) -> Iterator[Case]:
    if name in cases.MAKERS:
        yield cases.MAKERS[name](config)
    elif name == "pipeline":
        yield from (cases.pipeline(config, decoding) for decoding in DECODINGS)
    elif name == "hops":
        yield from (cases.hops(config, kind, max(options.lengths)) for kind in cases.HOPS)
    elif name == "voice_prefill":
        yield cases.voice_prefill(config)
    elif name == "lengths":
        for seconds in options.lengths:
            yield cases.flow(config, seconds, f"flow_{seconds:g}s")
            yield cases.vocoder(config, seconds, f"vocoder_{seconds:g}s")
    elif name == "load":
        yield Case("load", "Load of the whole model, file cache warm", "load", "")
    else:
        out = {"out": str(scratch / "converted")}
        yield Case("conversion", "Conversion", "convert", "", {}, out, sides=("converter",), warm_up=False)


def run_suite(
    checkpoint: Path,
    model: Path,
    options: Options,
    *,
    size: str = "",
    progress: Callable[[str], None] = lambda title: None,
) -> dict[str, Any]:
    """Measure, and return everything as plain data; the README says what the keys mean.

    Args:
        checkpoint: official checkpoint folder, for the reference.
        model: MLX model folder converted from it.
        size: what the checkpoint is called in the result.
        progress: called with what is measured next.

    Raises:
        WorkerError: a side failed.
        ModelFolderError, OSError: a folder is not what it should be.
    """
    config, meta = read_config(model)
    sizes = config.to_dict()
    folders = {"mlx": model, "pytorch": checkpoint, "converter": checkpoint}

    def open_worker(side: str) -> Worker:
        return Worker(side, folders[side], sizes, options.threads)

    load_before = machine.load_average()
    progress("the machine's own limits")
    results: list[Result] = []
    with ExitStack() as stack:
        # they sleep in between, without a component loaded
        bare = {side: stack.enter_context(open_worker(side)) for side in cases.BOTH}
        facts, limits = {side: worker.ask("facts") for side, worker in bare.items()}, _limits(bare, options)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        for case, repeats in chosen_cases(options, sizes, Path(folder)):
            progress(case.title)
            results.append(measure(case, open_worker, repeats, Path(folder)))
        # once more: one look at a busy machine would take its limits for lower than they are
        progress("the machine's own limits")
        again = _limits(bare, options)
    limits = {side: {name: max(value, again[side][name]) for name, value in limits[side].items()} for side in limits}
    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "size": size,
        "checkpoint": str(checkpoint),
        "model": str(model),
        "dtypes": meta["dtypes"],
        "machine": {**machine.describe(), "load_average": {"before": load_before, "after": machine.load_average()}},
        "threads": options.threads,
        "repeats": options.repeats,
        "steps": options.steps,
        "blas": {side: facts[side]["blas"] for side in facts},
        "versions": {side: facts[side]["version"] for side in facts},
        "device": facts["mlx"]["device"],
        **_measured(results, limits),
    }


def _measured(results: Sequence[Result], limits: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """What the cases gave, beside the machine's own limits."""
    best = {name: max(side[name] for side in limits.values()) for name in ("matmul_flops", "read_bytes")}
    stages = {result.case.name: result.to_dict(best) for result in results}
    return {
        "limits": {**limits, "machine": best},
        "ratios": {result.case.name: value for result in results if (value := result.ratio()) is not None},
        "streaming": streaming_ratios(stages),
        "stages": stages,
    }


def _limits(workers: Mapping[str, Worker], options: Options) -> dict[str, dict[str, float]]:
    """The matmul and memory read rates that each side's library reaches on this machine."""
    size, floats = options.limit_sizes
    return {side: worker.ask("limits", size=size, floats=floats) for side, worker in workers.items()}

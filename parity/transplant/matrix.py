"""Transplants: swap one part of the pipeline between the two sides and see what becomes of the mel and the wave.

Both pipelines run freely from the recording to the wave, each on its own intermediate results, with one tape of random
draws and with the speech tokens that the reference's language model picked. A transplanted part computes on what the
pipeline that it is put into gives it; so it brings its own error, and not that of the parts before it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mlx_parity.compare import FACTOR, Difference, Layer, Verdict, compare, judge, worst
from mlx_parity.sides import Side
from mlx_parity.stage import Given
from parity.drift.ranking import reference_arrays
from parity.pair import Pair
from parity.stages import Settings
from parity.transplant.parts import PARTS, Part

#: What the matrix is about.
FINAL = ("mel", "wav")

REFERENCE, MLX, FLOAT64 = "reference", "mlx", "float64"


@dataclass(frozen=True)
class Row:
    """One part's transplants, each against the pure reference, under the names in `FINAL`.

    `alone`: the reference's pipeline with this part from MLX. `without`: the MLX pipeline with this part from the
    reference. `share`: of the squared errors of all parts alone.
    """

    part: str
    title: str
    stage: str
    alone: dict[str, Difference]
    without: dict[str, Difference]
    share: dict[str, float]


@dataclass(frozen=True)
class TransplantReport:
    """The matrix. `all_mlx` is the untouched MLX pipeline against the pure reference.

    `final` judges the same results by the noise floor: what the reference's own pipeline loses by computing in the
    working dtype instead of float64.
    """

    settings: Settings
    rows: list[Row]
    all_mlx: dict[str, Difference]
    final: dict[str, Layer]

    @property
    def verdict(self) -> Verdict:
        return worst([layer.verdict for layer in self.final.values()])

    def responsible(self, output: str) -> Row | None:
        """The part that alone causes the largest error of the mel or the wave; None where no part causes any."""
        row = max(self.rows, key=lambda row: row.share[output])
        return row if row.share[output] else None


def transplant(
    pair: Pair,
    inputs: dict[str, Any],
    *,
    stages: Sequence[str] | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    factor: float = FACTOR,
    progress: Callable[[str], None] = lambda message: None,
) -> TransplantReport:
    """Swap every part once in either direction.

    Arguments as for `parity.run.run`. With `stages` the parts of these alone are swapped; the whole pipeline is run in
    any case. `factor` is for the final mel and wave.

    Raises:
        ValueError: a stage that cannot be swapped, or results of one side on which a part of the other cannot run.
    """
    settings = settings or Settings()
    known = list(dict.fromkeys(part.stage.name for part in PARTS))
    unknown = sorted(set(stages or ()) - set(known))
    if unknown:
        raise ValueError(f"cannot swap {', '.join(unknown)}; what can be swapped: {', '.join(known)}")
    swapped = [part for part in PARTS if not stages or part.stage.name in stages]
    with torch.inference_mode():
        finals = _run_all(pair, inputs, swapped, settings, seed, progress)
    return _report(pair, finals, swapped, settings, factor)


@dataclass(frozen=True)
class _Pipeline:
    """A pipeline of one side, with at most one part from the other."""

    base: str
    swapped: str = ""

    def side(self, part: Part) -> str:
        if part.name != self.swapped:
            return self.base
        return MLX if self.base == REFERENCE else REFERENCE


def _run_all(
    pair: Pair,
    inputs: dict[str, Any],
    swapped: list[Part],
    settings: Settings,
    seed: int,
    progress: Callable[[str], None],
) -> dict[_Pipeline, dict[str, np.ndarray]]:
    """The final outputs of all pipelines, which advance part by part, so that a component is loaded once.

    A part that meets the same inputs in several pipelines is run once.
    """
    progress("Speech tokens (reference)")
    walk = reference_arrays(pair, inputs, {"llm"}, settings=settings, seed=seed)["walk"]
    start = {**inputs, "speech_token": walk}
    pipelines = [_Pipeline(base) for base in (REFERENCE, MLX, FLOAT64)]
    pipelines += [_Pipeline(base, part.name) for part in swapped for base in (REFERENCE, MLX)]
    arrays = {pipeline: dict(start) for pipeline in pipelines}
    for part in PARTS:
        progress(part.title)
        done: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        for pipeline in sorted(pipelines, key=lambda pipeline: pipeline.side(part)):
            key = pipeline.side(part), _digest(arrays[pipeline][name] for name in part.needs)
            if key not in done:
                done[key] = _run_part(part, key[0], pair, arrays[pipeline], settings, seed)
            arrays[pipeline] |= done[key]
    return {pipeline: {name: made[name] for name in FINAL} for pipeline, made in arrays.items()}


def _digest(arrays: Any) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _run_part(
    part: Part, name: str, pair: Pair, inputs: dict[str, Any], settings: Settings, seed: int
) -> dict[str, np.ndarray]:
    try:
        if name == MLX:
            side: Side = part.stage.model(pair)
        else:
            side = part.stage.reference(pair, "float64" if name == FLOAT64 else part.stage.dtype(pair))
        return part.call(side, Given(inputs, settings, seed))
    except ValueError as error:
        raise ValueError(f"{part.title} ({name}) cannot run on what the parts before it made: {error}") from error


def _report(
    pair: Pair, finals: dict[_Pipeline, dict[str, np.ndarray]], swapped: list[Part], settings: Settings, factor: float
) -> TransplantReport:
    expected, exact = finals[_Pipeline(REFERENCE)], finals[_Pipeline(FLOAT64)]

    def against_reference(pipeline: _Pipeline) -> dict[str, Difference]:
        return {name: compare(finals[pipeline][name], expected[name]) for name in FINAL}

    alone = [against_reference(_Pipeline(REFERENCE, part.name)) for part in swapped]
    without = [against_reference(_Pipeline(MLX, part.name)) for part in swapped]
    shares = {name: _shares([differences[name].relative_rms for differences in alone]) for name in FINAL}
    rows = [
        Row(part.name, part.title, part.stage.name, mine, rest, {name: shares[name][place] for name in FINAL})
        for place, (part, mine, rest) in enumerate(zip(swapped, alone, without, strict=True))
    ]
    # the coarsest dtype on the way decides what the smallest possible error is
    dtypes = {pair.dtype(part.stage.component) for part in PARTS}
    dtype = next(name for name in ("bfloat16", "float16", "float32") if name in dtypes)
    mlx = finals[_Pipeline(MLX)]
    final = {
        name: judge(name, "output", mlx[name], expected[name], exact[name], dtype=dtype, factor=factor)
        for name in FINAL
    }
    return TransplantReport(settings, rows, against_reference(_Pipeline(MLX)), final)


def _shares(errors: list[float]) -> list[float]:
    """Every error's share of the sum of squares. Infinite errors share among themselves; all zeros stay zeros."""
    if any(math.isinf(error) for error in errors):
        errors = [float(math.isinf(error)) for error in errors]
    peak = max(errors, default=0.0)
    squares = [(error / peak) ** 2 if peak else 0.0 for error in errors]
    return [square / sum(squares) if peak else 0.0 for square in squares]

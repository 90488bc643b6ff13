"""How far two tensors are apart, and whether that is more than the arithmetic explains."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import numpy as np

from mlx_parity.sums import Moments, Products, blocks

#: A layer passes while its error is at most this many times the noise floor: what the reference itself loses by
#: computing in the working dtype instead of float64. Two correct implementations add up in different orders, so their
#: errors differ by a small factor: 2.2 at most over all layers of the tiny and the full model in all dtypes, on x86-64.
#: A porting mistake is thousands of floors away.
FACTOR = 8.0

#: The floor is never taken below this many rounding steps of the working dtype: some layers (an embedding, a copy)
#: lose nothing at all in the reference.
MINIMUM_STEPS = 2.0

#: Spacing of the numbers next to 1; of float64, than which none is finer to measure by, what long sums lose in it.
EPSILON = {"float64": 2.0**-46, "float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}


class Verdict(str, Enum):
    """What is known of a layer, a stage or a run. The worst one of many counts: diverged, then inconclusive."""

    PASS = "pass"
    INCONCLUSIVE = "inconclusive"
    DIVERGED = "diverged"

    @property
    def exit_code(self) -> int:
        return {Verdict.PASS: 0, Verdict.DIVERGED: 1, Verdict.INCONCLUSIVE: 2}[self]


def worst(verdicts: list[Verdict]) -> Verdict:
    """The verdict of a whole from its parts. Nothing observed at all is inconclusive, never a pass."""
    if Verdict.DIVERGED in verdicts:
        return Verdict.DIVERGED
    if Verdict.INCONCLUSIVE in verdicts or not verdicts:
        return Verdict.INCONCLUSIVE
    return Verdict.PASS


@dataclass(frozen=True)
class Difference:
    """Two tensors of one layer side by side. `relative_rms` is |a - b| / |b| in the root mean square."""

    max_abs: float
    relative_rms: float
    snr_db: float
    cosine: float
    nonfinite: int
    nonfinite_reference: int
    mean: float
    std: float
    mean_reference: float
    std_reference: float

    def to_dict(self) -> dict[str, Any]:
        return dict(as_json(asdict(self)))


def as_json(value: Any) -> Any:
    """Lists and numbers that JSON can hold; NaN and infinities as words."""
    if isinstance(value, Mapping):
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [as_json(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else str(float(value))
    return value


def relative_rms(actual: np.ndarray, expected: np.ndarray) -> float:
    """|actual - expected| / |expected| in the root mean square; infinite where anything is not finite.

    Where `expected` is zero throughout, the absolute root mean square is returned.
    """
    error = scale = 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        for found, right in blocks(actual, expected):
            scale += float(right @ right)
            apart = found - right
            error += float(apart @ apart)
    return _relative(error, scale, expected.size)


def _relative(error: float, scale: float, size: int) -> float:
    """The same from the sums of the squares of `size` numbers."""
    if not (math.isfinite(error) and math.isfinite(scale)):
        return math.inf
    return math.sqrt(error / (scale or max(size, 1)))


def typical_floor(pairs: Iterable[tuple[np.ndarray | None, np.ndarray | None]], exact: np.ndarray | None) -> float:
    """The noise floor of one call of a module by the median over all of its calls.

    One call may hold a single position, and what that one happens to lose says little of what another will. Nor does it
    lose less by being small, as the difference of large numbers is: floors are compared as they are as well.

    Args:
        pairs: what each call made in the working dtype, and in float64.
        exact: what the call in question made in float64.
    """
    floors, sizes = [], []
    for expected, double in pairs:
        if expected is not None and double is not None and expected.shape == double.shape:
            floors.append(relative_rms(expected, double))
            sizes.append(floors[-1] * _root_mean_square(double))
    if not floors:
        return 0.0
    size = _root_mean_square(exact) if exact is not None else 0.0
    return max(float(np.median(floors)), float(np.median(sizes)) / size if size else 0.0)


def _root_mean_square(array: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64)))) if array.size else 0.0


def allowed(mask: np.ndarray) -> np.ndarray:
    """Which places a mask lets through, whether it is boolean or added to the scores."""
    return mask if mask.dtype == bool else mask > -1e4


def within(actual: np.ndarray, expected: np.ndarray, exact: np.ndarray, *, dtype: str, factor: float = FACTOR) -> bool:
    """Whether `judge` would pass a layer by its own floor, in a fraction of the time."""
    if not actual.shape == expected.shape == exact.shape:
        return False
    return relative_rms(actual, exact) <= factor * noise_floor(expected, exact, dtype) < math.inf


def dtype_of(expected: np.ndarray, dtype: str) -> str:
    """What a module works in that made `expected` in a stage of this dtype: some compute in float64 in any."""
    return "float64" if expected.dtype == np.float64 else dtype


def noise_floor(expected: np.ndarray, exact: np.ndarray, dtype: str) -> float:
    """The noise floor of one array: see `FACTOR` and `MINIMUM_STEPS`."""
    return max(relative_rms(expected, exact), MINIMUM_STEPS * EPSILON[dtype])


def compare(actual: np.ndarray, expected: np.ndarray) -> Difference:
    """Compare `actual` (MLX) with `expected` (the reference) of the same shape.

    Raises:
        ValueError: the shapes differ.
    """
    if actual.shape != expected.shape:
        raise ValueError(f"shapes differ: {list(actual.shape)} against {list(expected.shape)}")
    if not actual.size:
        return Difference(0.0, 0.0, math.inf, 1.0, 0, 0, 0.0, 0.0, 0.0, 0.0)
    mine, right, products = Moments(float(actual.flat[0])), Moments(float(expected.flat[0])), Products()
    with np.errstate(invalid="ignore", over="ignore"):
        for a, b in blocks(actual, expected):
            mine.add(a)
            right.add(b)
            products.add(a, b)
    moments = mine.mean, mine.std, right.mean, right.std
    if mine.nonfinite or right.nonfinite:
        return Difference(math.inf, math.inf, -math.inf, 0.0, mine.nonfinite, right.nonfinite, *moments)
    error = _relative(products.apart, products.second, actual.size)
    norms = math.sqrt(products.first) * math.sqrt(products.second)
    cosine = products.both / norms if norms else float(products.first == products.second)
    snr = -20 * math.log10(error) if error else math.inf
    return Difference(products.largest, error, snr, cosine, 0, 0, *moments)


@dataclass(frozen=True)
class Layer:
    """The comparison of one module's (or one stage's) output.

    `error` and `floor` are relative root mean squares against the reference in float64: of the MLX output, and of
    the reference in the working dtype.
    """

    path: str
    type: str
    verdict: Verdict
    shape: tuple[int, ...] = ()
    difference: Difference | None = None
    error: float = math.nan
    floor: float = math.nan
    reason: str = ""

    @property
    def ratio(self) -> float:
        """Error in noise floors."""
        return self.error / self.floor if self.floor else math.inf

    @property
    def words(self) -> str:
        """How far off it is, or why that is not known."""
        if self.difference is None or self.reason:
            return self.reason
        d = self.difference
        return (
            f"{self.ratio:.3g} noise floors off, max abs {d.max_abs:.3g}, relative RMS {d.relative_rms:.3g}, "
            f"SNR {d.snr_db:.1f} dB, mean {d.mean:.4g} against {d.mean_reference:.4g}, "
            f"std {d.std:.4g} against {d.std_reference:.4g}"
        )

    def to_dict(self) -> dict[str, Any]:
        row: dict[str, Any] = {"type": self.type, "verdict": self.verdict.value}
        if self.difference:
            row |= {"shape": list(self.shape), **self.difference.to_dict()}
            row |= as_json({"error": self.error, "floor": self.floor, "error_over_floor": self.ratio})
        if self.reason:
            row["reason"] = self.reason
        return row


def judge(
    path: str,
    kind: str,
    actual: np.ndarray | None,
    expected: np.ndarray | None,
    exact: np.ndarray | None,
    *,
    dtype: str,
    factor: float = FACTOR,
    typical: Callable[[], float] = lambda: 0.0,
) -> Layer:
    """Compare one layer and say whether it passes.

    Args:
        path: the official module path.
        kind: the module's type, for the reader.
        actual: the MLX output; None when it was not observed.
        expected: the reference's output in the working dtype.
        exact: the reference's output in float64.
        dtype: the working dtype, a key of `EPSILON`.
        factor: how many noise floors are allowed.
        typical: the `typical_floor` of the layer's kind, asked for where its own floor does not explain the error.
    """
    missing = [
        side for side, x in (("MLX", actual), ("reference", expected), ("float64 reference", exact)) if x is None
    ]
    if actual is None or expected is None or exact is None:
        return Layer(path, kind, Verdict.INCONCLUSIVE, reason=f"not observed on: {', '.join(missing)}")
    if actual.shape != expected.shape:
        reason = f"shape {list(actual.shape)}, the reference has {list(expected.shape)}"
        return Layer(path, kind, Verdict.DIVERGED, actual.shape, reason=reason)
    difference = compare(actual, expected)
    error = relative_rms(actual, exact)
    floor = noise_floor(expected, exact, dtype)
    if error > factor * floor:
        floor = max(floor, typical())
    reason = ""
    if difference.nonfinite_reference:
        verdict, reason = Verdict.INCONCLUSIVE, "the reference itself is not finite here"
    elif difference.nonfinite:
        verdict, reason = Verdict.DIVERGED, f"{difference.nonfinite} values are NaN or infinite"
    elif error <= factor * floor:
        verdict = Verdict.PASS
    else:
        verdict = Verdict.DIVERGED
    return Layer(path, kind, verdict, actual.shape, difference, error, floor, reason)

"""Looking into a float32 network while it runs: what each group loses by rounding, and what that does to the output."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from mlx_cosyvoice.llm.cache import LayerCache
from mlx_cosyvoice.nn.backend import device_form
from mlx_parity.intercept import ModuleCall, intercepted
from parity.drift.rounding import Precision, is_float, map_floats, rounded


@dataclass
class OwnErrors:
    """One entry for every array of floats that a group returned, in the order in which they did.

    `paths` names the group, `errors` is rounded minus float32, `powers` the sums of squares of the float32 output.
    """

    paths: list[str] = field(default_factory=list)
    errors: list[mx.array] = field(default_factory=list)
    powers: list[float] = field(default_factory=list)

    def relative(self) -> dict[str, float]:
        """Group -> relative root mean square over all that it returned, in data-flow order; infinite if any is."""
        squares, powers = dict.fromkeys(self.paths, 0.0), dict.fromkeys(self.paths, 0.0)
        for path, error, power in zip(self.paths, self.errors, self.powers, strict=True):
            squares[path] += float(mx.square(error).sum())
            powers[path] += power
        ratios = {path: squares[path] / (powers[path] or 1.0) for path in squares}
        return {path: math.sqrt(ratio) if math.isfinite(ratio) else math.inf for path, ratio in ratios.items()}


def _leaves(value: Any) -> list[mx.array]:
    """Every array of floats in a value or tuple."""
    leaves: list[tuple[str, Any]] = tree_flatten([value])  # type: ignore[assignment]
    return [leaf for _, leaf in leaves if is_float(leaf)]


@contextmanager
def own_errors(found: Mapping[str, nn.Module], precision: Precision) -> Iterator[OwnErrors]:
    """Round every group, and repeat each of its calls in float32 on the same inputs.

    The inputs are those of the rounded network, because it is the errors made there that add up to the final one. Where
    a rounded output is not finite, the float32 one is handed on, so that groups behind can still be judged.
    """
    noted = OwnErrors()

    def both(call: ModuleCall) -> Any:
        # the repetition must not extend the cache a second time
        copies = tuple(value.copy() if isinstance(value, LayerCache) else value for value in call.args)
        exact = replace(call, args=copies).run()
        with rounded([(call.path, call.module)], precision):
            low = call.run()
            errors = [a - b for a, b in zip(_leaves(low), _leaves(exact), strict=True)]
            powers = [mx.square(leaf).sum() for leaf in _leaves(exact)]
            mx.eval(errors, powers)  # bounds the graph to one call
        noted.paths += [call.path] * len(errors)
        noted.errors += errors
        noted.powers += [float(power) for power in powers]
        return low if all(mx.isfinite(error).all().item() for error in errors) else exact

    with intercepted(found, both):
        yield noted


def shares(
    run: Callable[[], mx.array],
    found: Mapping[str, nn.Module],
    noted: OwnErrors,
    finite: Collection[str],
    final_error: mx.array,
) -> dict[str, float]:
    """To first order, how much of the final error comes of each group's own errors.

    Args:
        run: the network, float32.
        found: its groups.
        noted: their own errors.
        finite: those groups whose errors count.
        final_error: of the network with all groups rounded; not zero.

    Returns:
        Group -> its errors, carried to the output by the derivative, along `final_error`, over its square. The sum
        is 1 if the first order says it all.
    """

    def perturbed(*deltas: mx.array) -> mx.array:
        left = iter(deltas)

        def add(call: ModuleCall) -> Any:
            return map_floats(call.run(), lambda leaf: leaf + next(left))

        with intercepted(found, add), device_form():
            return run()

    zeros = [mx.zeros_like(error) for error in noted.errors]
    _, slopes = mx.vjp(perturbed, zeros, [final_error])
    total = mx.square(final_error).sum()
    own = [entry for entry in zip(noted.paths, slopes, noted.errors, strict=True) if entry[0] in finite]
    parts = [(slope * error).sum() / total for _, slope, error in own]
    mx.eval(parts)
    result = dict.fromkeys(found, 0.0)
    for (path, _, _), part in zip(own, parts, strict=True):
        result[path] += float(part)
    return result

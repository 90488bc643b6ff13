"""What streaming costs: a row a decoder, for the hops of one utterance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from parity.bench.cases import HOPS
from parity.bench.figures import both_ratios, peak_memory, seconds

HEADER = (
    "Flow and vocoder, hop by hop",
    "hops",
    "all hops",
    "all hops / offline",
    "first hop",
    "second",
    "last",
    "last / second",
    "MLX peak memory",
)


def rows(data: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each of `HOPS` that was asked for."""
    for name, (label, _) in HOPS.items():
        stage = data["stages"].get(f"hops_{name}")
        if stage is None:
            continue
        mlx, own = stage["sides"]["mlx"], data["streaming"][name]
        times = [seconds(lap["seconds"]) for lap in mlx["laps"]]
        yield (
            f"{label}, {own['audio_seconds']:g} s",
            str(own["hops"]),
            seconds(own["total_seconds"]),
            *_ratio(own, "total_over_offline"),
            times[0],
            times[1] if len(times) > 1 else "",
            times[-1] if len(times) > 2 else "",
            *_ratio(own, "last_over_second"),
            peak_memory(mlx),
        )


def _ratio(own: Mapping[str, Any], name: str) -> list[str]:
    return [both_ratios(own, name) if name in own else ""]

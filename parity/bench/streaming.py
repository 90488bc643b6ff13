"""What the hops of the streaming decoders tell: whether they grow, and what streaming costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from parity.bench.cases import HOPS

Laps = Sequence[Mapping[str, float]]


def _total(laps: Laps, what: str) -> float:
    return sum(lap[what] for lap in laps)


def streaming_ratios(stages: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that follow from the hops, for the JSON's `streaming`.

    Args:
        stages: of the result.

    Returns:
        For each of `HOPS` that was measured: `audio_seconds`, `hops`, `total_seconds` and, where they are known,
        `last_over_second` (the last hop's time / the second one's), `last_full_over_second` (the same of the last hop
        but the final one, which also speaks what was held back) and `total_over_offline`; `of_cpu_seconds` has the same
        ratios of processor time. For `voice_prefill`: `new_voice_seconds`, `prefilled_voice_seconds` and
        `prefilled_over_new`.
    """
    found: dict[str, Any] = {}
    measured = {name: stages[f"hops_{name}"] for name in HOPS if f"hops_{name}" in stages}
    laps = {name: stage["sides"]["mlx"]["laps"] for name, stage in measured.items()}
    for name, own in laps.items():
        found[name] = {
            "audio_seconds": measured[name]["audio_seconds"],
            "hops": len(own),
            "total_seconds": _total(own, "seconds"),
            **_ratios(own, laps.get("offline"), "seconds"),
            "of_cpu_seconds": _ratios(own, laps.get("offline"), "cpu_seconds"),
        }
    if "voice_prefill" in stages:
        found["voice_prefill"] = _prefill(stages["voice_prefill"]["sides"]["mlx"]["numbers"])
    return found


def _ratios(laps: Laps, offline: Laps | None, what: str) -> dict[str, float]:
    ratios = {}
    if len(laps) > 2:
        ratios["last_over_second"] = laps[-1][what] / laps[1][what]
    if len(laps) > 3:
        ratios["last_full_over_second"] = laps[-2][what] / laps[1][what]
    if offline:
        ratios["total_over_offline"] = _total(laps, what) / _total(offline, what)
    return ratios


def _prefill(numbers: Mapping[str, Any]) -> dict[str, Any]:
    median = {name: number["median"] for name, number in numbers.items()}
    names = ("new_voice_seconds", "prefilled_voice_seconds")
    cpu = median["prefilled_voice_cpu_seconds"] / median["new_voice_cpu_seconds"]
    return {
        **{name: median[name] for name in names},
        "prefilled_over_new": median["prefilled_voice_seconds"] / median["new_voice_seconds"],
        "of_cpu_seconds": {"prefilled_over_new": cpu},
    }

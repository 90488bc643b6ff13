"""The faults in the order in which a listener notices them, in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from parity.faults.audible.listener import RECORDING, STRINGS
from parity.faults.audible.trials import FAULTY, HEALTHY
from parity.faults.base import Fault
from parity.nano.results import Results

Found = Mapping[str, Any]

#: The historic fault, and what its finder reported: mean and std with the fault, and without.
HISTORIC, REPORTED = "decoder-mask", ((-3.75, 1.6), (-4.91, 2.8))
#: Points of the word error rate that make a fault a grave one.
GRAVE = 0.2
#: Below this many dB, and this change of likeness, nobody hears a difference.
SAME_SOUND, SAME_VOICE = 0.05, 0.002


def more_misheard(found: Found, healthy: Found) -> float:
    """By how much the share of misheard words has risen."""
    return float(found["errors"] / found["words"] - healthy["errors"] / healthy["words"])


def grave(results: Results) -> list[str]:
    """The faults with which at least 20 points more of the words are misheard."""
    return [name for name, found, healthy in _heard(results) if more_misheard(found, healthy) >= GRAVE - 1e-9]


def _heard(results: Results) -> list[tuple[str, Found, Found]]:
    """(name, with the fault, without) of those that speak, the most noticeable first."""
    found = [
        (name, one, results.of(HEALTHY)[one["way"]]) for name, one in results.of(FAULTY).items() if "raised" not in one
    ]

    def noticed(entry: tuple[str, Found, Found]) -> tuple[float, float, float]:
        _, one, healthy = entry
        distance = one["distance"]
        return (
            more_misheard(one, healthy),
            healthy["likeness"] - one["likeness"],
            0.0 if distance is None or math.isnan(distance) else distance,
        )

    return sorted(found, key=noticed, reverse=True)


def _unheard(found: Found, healthy: Found) -> bool:
    """Whether the very same was said, as far as anybody hears."""
    same = found["heard"] == healthy["heard"] and abs(found["likeness"] - healthy["likeness"]) < SAME_VOICE
    return same and found["distance"] is not None and found["distance"] < SAME_SOUND


def markdown(results: Results, faults: Sequence[Fault]) -> str:
    """The page."""
    mistakes = {fault.name: fault.mistake for fault in faults}
    heard = [entry for entry in _heard(results) if entry[0] in mistakes]
    raised = {name: one["raised"] for name, one in results.of(FAULTY).items() if "raised" in one and name in mistakes}
    unheard = [name for name, *both in heard if _unheard(*both)]
    rows = [_row(*entry, mistakes[entry[0]]) for entry in heard if entry[0] not in unheard]
    worse = [name for name in grave(results) if name in mistakes]
    parts = [
        "# What a listener notices of each fault",
        f"Made by `python -m parity faults --audible --markdown`: each of {len(heard) + len(raised)} faults of the "
        f"catalogue was put into the nano model, which then said {len(STRINGS)} held-out strings of five digits after "
        f"`{RECORDING}`. With {len(worse)} of them the recogniser mishears words by {100 * GRAVE:.0f} points more; "
        f"{len(unheard)} change nothing that can be heard, {len(raised)} raise or cannot be made in a model so small.",
        "Draws and, but for faults before the flow, tokens are those of the healthy model. *Distance* is the "
        "log-spectral one to what it says, where both are as long; *likeness* the cosine to the recording's voice.",
        *_historic(results),
        _table(("healthy, spoken", "misheard", "likeness", "mel mean", "mel std"), _healthy_rows(results)),
        _table(("fault", "spoken", "misheard", "likeness", "distance, dB", "mel mean", "mel std", "the mistake"), rows),
        "Nothing to hear: " + (", ".join(unheard) or "none") + ".",
        "Nothing is said, as these raise or cannot be made: "
        + ("; ".join(f"{name} ({error})" for name, error in raised.items()) or "none")
        + ".",
    ]
    return "\n\n".join(parts) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _healthy_rows(results: Results) -> list[list[str]]:
    return [[way, *_words(one), f"{one['likeness']:.3f}", *_mel(one)] for way, one in results.of(HEALTHY).items()]


def _row(name: str, found: Found, healthy: Found, mistake: str) -> list[str]:
    distance = found["distance"]
    return [
        name,
        found["way"],
        *_words(found),
        f"{found['likeness']:.3f}",
        "" if distance is None else f"{distance:.1f}",
        *_mel(found),
        mistake,
    ]


def _words(found: Found) -> list[str]:
    return [f"{found['errors']} of {found['words']}"]


def _mel(found: Found) -> list[str]:
    return [f"{found['mean']:.2f}", f"{found['std']:.2f}"]


def _historic(results: Results) -> list[str]:
    """The paragraph about the historic fault, once it was tried."""
    found = results.of(FAULTY).get(HISTORIC)
    if found is None or "raised" in found:
        return []
    healthy = results.of(HEALTHY)[found["way"]]
    (wrong, flat), (right, lively) = REPORTED
    return [
        "## The historic fault",
        f"A port's decoder had lost its chunk mask while it streamed (`{HISTORIC}`): every frame attended to all those "
        f"of the hop. Its finder reported a mel of mean {wrong} against {right}, and of std {flat} against {lively}. "
        f"The nano model with the fault: mean {found['mean']:.2f} against {healthy['mean']:.2f}, std "
        f"{found['std']:.2f} against {healthy['std']:.2f}; {found['errors']} of {found['words']} words misheard, "
        f"without it {healthy['errors']}; likeness {found['likeness']:.3f} against {healthy['likeness']:.3f}; "
        f"{found['distance']:.1f} dB from what it should have said.",
        "## All faults",
    ]

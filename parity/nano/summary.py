"""All that was measured, as a table; and beside each bound of the acceptance what was found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parity.nano.bench import nearest
from parity.nano.cases import BESIDE, VOICES, voice_of
from parity.nano.measures import MEASURES
from parity.nano.results import Results

Records = Mapping[str, Mapping[str, Any]]


def of_voices(records: Records, voices: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Those of cases in these voices; the key of a case begins with its recording."""
    return {case: record for case, record in records.items() if voice_of(case) in voices}


def misheard(records: Records) -> float:
    """The share of words that were misheard; NaN of nothing."""
    words = sum(record["words"] for record in records.values())
    return sum(record["errors"] for record in records.values()) / words if words else math.nan


def alike(records: Records, *, recording: bool = False) -> tuple[int, int]:
    """How many clones are most like a recording of their own voice (or the very `recording`), and of how many."""
    found = [(case.split()[0], nearest(one["likeness"])) for case, one in records.items() if one.get("likeness")]
    return sum(a == b if recording else voice_of(a) == voice_of(b) for a, b in found), len(found)


def same_words(one: Records, other: Records) -> tuple[int, int]:
    """In how many cases that both have the same was heard, and of how many."""
    both = one.keys() & other.keys()
    return sum(one[case]["heard"] == other[case]["heard"] for case in both), len(both)


@dataclass(frozen=True)
class Criterion:
    """A bound of the acceptance. `met` is None where nothing was measured."""

    text: str
    found: str
    met: bool | None

    def __str__(self) -> str:
        return f"{ {True: 'met', False: 'MISSED', None: 'not measured'}[self.met] }: {self.text}: {self.found}"


def _share(text: str, records: Records, most: float) -> Criterion:
    if not records:
        return Criterion(text, "", None)
    rate = misheard(records)
    return Criterion(f"{text} <= {most:.0%}", f"{rate:.1%} in {len(records)} cases", rate <= most)


def _within(text: str, records: Records, base: Records, points: float) -> Criterion:
    """Against another measure in the cases that both have."""
    text = f"{text} within {100 * points:.0f} points"
    both = records.keys() & base.keys()
    if not both:
        return Criterion(text, "", None)
    rate, other = (misheard({case: side[case] for case in both}) for side in (records, base))
    return Criterion(text, f"{rate:.1%} beside {other:.1%} in {len(both)} cases", rate <= other + points + 1e-12)


def _counted(text: str, count: tuple[int, int], least: float) -> Criterion:
    right, of = count
    return Criterion(f"{text} >= {least:.0%}", f"{right} of {of}", right >= least * of if of else None)


def mel_statistics(records: Records) -> dict[str, float]:
    """Over all values of all cases: `mean` and `std` of the flow's mel, `true_mean`, `true_std`, and `rms`."""
    frames = sum(record["frames"] for record in records.values())

    def pooled(side: str, name: str) -> float:
        return sum(record["frames"] * record[side][name] for record in records.values()) / frames

    made, true = pooled("made", "mean"), pooled("true", "mean")
    return {
        "mean": made,
        "true_mean": true,
        "std": math.sqrt(pooled("made", "square") - made**2),
        "true_std": math.sqrt(pooled("true", "square") - true**2),
        "rms": math.sqrt(sum(one["frames"] * one["rms"] ** 2 for one in records.values()) / frames),
    }


def _mel(records: Records) -> list[Criterion]:
    mean, std = "flow's mel: mean within 0.15", "flow's mel: std within 8 %"
    if not records:
        return [Criterion(mean, "", None), Criterion(std, "", None)]
    found = mel_statistics(records)
    off, ratio = found["mean"] - found["true_mean"], found["std"] / found["true_std"]
    beside = f"in {len(records)} cases"
    return [
        Criterion(mean, f"{found['mean']:.3f} beside {found['true_mean']:.3f} {beside}", abs(off) <= 0.15),
        Criterion(std, f"{ratio:.3f} times {found['true_std']:.3f} {beside}", abs(ratio - 1) <= 0.08),
    ]


def criteria(results: Results, voices: Sequence[str] = VOICES) -> list[Criterion]:
    """What the checkpoint is accepted by, of the voices that are judged."""
    of = {name: of_voices(results.of(name), voices) for name in MEASURES}
    tokens, zero_shot = of["tokens"], of["zero-shot"]
    return [
        _share("true tokens", tokens, 0.06),
        *(_within(f"true tokens, {way},", of[f"tokens-{way}"], tokens, 0.02) for way in ("official", "incremental")),
        *(_within(f"25 digits, {way},", of[f"long-{way}"], of["long"], 0.02) for way in ("official", "incremental")),
        _share("zero-shot", zero_shot, 0.12),
        *(
            _within(f"zero-shot, {way},", of[f"zero-shot-{way}"], zero_shot, points)
            for way, points in (
                *(("official", 0.02), ("incremental", 0.02), ("float16", 0.02)),
                *(("8bit", 0.02), ("4bit", 0.05)),
            )
        ),
        _counted("zero-shot: PyTorch says the same", same_words(zero_shot, of["zero-shot-pytorch"]), 0.98),
        _counted("true tokens: PyTorch says the same", same_words(tokens, of["tokens-pytorch"]), 0.98),
        _counted("zero-shot: most like its own voice", alike(zero_shot), 0.9),
        *_mel(of["mel"]),
        _within("word by word, zero-shot,", of["zero-shot-arriving"], zero_shot, 0.04),
        _within("word by word, interleaved,", of["bistream"], of["plain"], 0.04),
    ]


def _cell(records: Records) -> str:
    rate = misheard(records)
    return "" if math.isnan(rate) else f"{rate:.1%}"


def markdown(results: Results) -> str:
    """The table of words misheard and of likeness, that of mels, and the criteria."""
    lines = [
        "| words misheard | " + " | ".join(VOICES) + " | **all three** | cases | " + " | ".join(BESIDE) + " "
        "| like its voice | like the very recording | CPU s a case |",
        "|---|" + "---:|" * (len(VOICES) + len(BESIDE) + 5),
    ]
    for name, measure in MEASURES.items():
        records = results.of(name)
        if name == "mel" or not records:
            continue
        judged = of_voices(records, VOICES)
        voices = [_cell(of_voices(records, [voice])) for voice in (*VOICES, *BESIDE)]
        likeness = ["{} of {}".format(*alike(judged, recording=very)) for very in (False, True)]
        likeness = likeness if alike(judged)[1] else ["", ""]
        seconds = sorted(record["seconds"] for record in records.values())[len(records) // 2]
        cells = [measure.title, *voices[: len(VOICES)], f"**{_cell(judged)}**", str(len(judged))]
        cells += [*voices[len(VOICES) :], *likeness, f"{seconds:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_mel_table(results), "", *(f"- {one}" for one in criteria(results)), ""])


def _mel_table(results: Results) -> list[str]:
    header = ["| mel of true tokens | mean | true | std | true | RMS of the difference |", "|---|" + "---:|" * 5]
    rows = []
    for voice in (*VOICES, *BESIDE):
        records = of_voices(results.of("mel"), [voice])
        if records:
            found = mel_statistics(records)
            cells = (found[name] for name in ("mean", "true_mean", "std", "true_std", "rms"))
            rows.append(f"| {voice} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    return [*header, *rows] if rows else []

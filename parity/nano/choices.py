"""`python -m parity.nano choices`: what each choice of a user costs, in words misheard and in the mel."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlx_cosyvoice.decoding import OfflineDecoder
from parity.nano.bench import Bench
from parity.nano.cases import VOICES, Case, cases
from parity.nano.options import GROUPS, STRINGS_A_TEXT, Group, Option
from parity.nano.results import Results
from parity.nano.run import measure_all
from parity.nano.speaking import Said, say
from parity.nano.summary import Records, alike, misheard, of_voices
from parity.nano.tape import Tape
from reference.nano.words import TESTS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only this command is told."""
    parser.add_argument(
        "--groups", nargs="+", choices=list(GROUPS), default=list(GROUPS), metavar="NAME", help=", ".join(GROUPS)
    )
    parser.add_argument("--texts", type=int, default=4, help=f"long ones, of {STRINGS_A_TEXT} strings (default: 4)")


def judge(
    bench: Bench,
    results: Results,
    groups: Sequence[str],
    voices: Sequence[str],
    strings: range,
    texts: int,
    *,
    likeness: bool,
) -> None:
    """Measure what `results` lacks.

    Raises:
        FileNotFoundError: `flite` is not installed.
    """
    if shutil.which("flite") is None:
        raise FileNotFoundError("flite is not installed, whose speech gives the tokens: apt install flite")
    for group in (GROUPS[name] for name in groups):
        said_zero_shot = [option.measure for option in group.options if option.measure]
        measure_all(bench, results, said_zero_shot, voices, strings, likeness=likeness)
        if group.joined > 1:
            strings_of_group = range(min(TESTS, texts * group.joined))
        else:
            strings_of_group = range(strings.start, min(strings.stop, strings.start + group.most))
        spoken = [option for option in group.options if option.decoder]
        for case in cases(bench.transcripts, voices, strings_of_group, group.joined) if spoken else ():
            _judge_case(bench, results, group, case)
            print(f"{group.title}: {case.key}", file=sys.stderr, flush=True)


def _judge_case(bench: Bench, results: Results, group: Group, case: Case) -> None:
    missing = [one for one in group.options if one.decoder and case.key not in results.of(group.measure(one))]
    if not missing:
        return
    offline, _ = _say(bench, case, Option("offline", OfflineDecoder))
    first, seconds = _say(bench, case, group.options[0])
    for option in missing:
        said, seconds = (first, seconds) if option is group.options[0] else _say(bench, case, option)
        results.add(
            group.measure(option),
            case.key,
            words=len(case.words),
            **bench.heard(said.wave, 24000, case),
            from_offline=_rms(said.mel, offline.mel),
            from_first=_rms(said.mel, first.mel),
            seconds=seconds,
        )


def _say(bench: Bench, case: Case, option: Option) -> tuple[Said, float]:
    """What is said, and the seconds of processor time."""
    tts = bench.model(option.precision)
    assert option.decoder is not None
    # the voice is that of float32: only what is chosen may differ
    prompt, tokens = bench.prompt("float32", case.prompt), bench.tokens(case).tolist()
    started = time.process_time()
    said = say(option.decoder(tts.flow, tts.hift), prompt, tokens, Tape(case.number).noise())
    return said, round(time.process_time() - started, 3)


def _rms(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.square(one.astype(np.float64) - other).mean()))


# the page


def markdown(results: Results) -> str:
    """All groups of which something was measured."""
    parts = [
        "# What choices cost",
        "Made by `python -m parity.nano choices --markdown`, with the [nano checkpoint](../assets/nano/README.md). "
        "*Misheard*: the words that a recogniser got wrong. *From offline*, *from the first*: the root mean square "
        "difference of the mel (natural logarithm of magnitudes) from what offline decoding in float32, or the first "
        "line of the table, makes of the same tokens and noise. A model of another size need not pay the same.",
    ]
    for group in GROUPS.values():
        rows = [_row(option, records) for option, records in _beside(results, group) if records]
        if rows:
            parts += [f"## {group.title[0].upper()}{group.title[1:]}", _said_by(group), "\n".join([*_HEADER, *rows])]
    return "\n\n".join(parts) + "\n"


_HEADER = (
    "| | misheard | of words | from offline | from the first | like its voice | CPU s an utterance |",
    "|---|" + "---:|" * 6,
)


def _said_by(group: Group) -> str:
    if group.options[0].measure:
        return "Held-out strings of five digits, zero-shot and offline."
    if group.joined > 1:
        return f"{5 * group.joined} digits in one utterance, from tokens of true speech."
    return "Held-out strings of five digits, from tokens of true speech."


def _beside(results: Results, group: Group) -> list[tuple[Option, Records]]:
    """What was measured of every option, in the cases that all have of which anything was."""
    found = {option: of_voices(results.of(group.measure(option)), VOICES) for option in group.options}
    measured = [{*records} for records in found.values() if records]
    shared = set.intersection(*measured) if measured else set()
    return [(option, {case: records[case] for case in shared if records}) for option, records in found.items()]


def _row(option: Option, records: Records) -> str:
    found: list[Any] = list(records.values())
    right, of = alike(records)
    distances = [
        f"{np.sqrt(np.mean([np.square(one[name]) for one in found])):.3g}" if name in found[0] else ""
        for name in ("from_offline", "from_first")
    ]
    cells = [
        option.title,
        f"{misheard(records):.1%}",
        str(sum(one["words"] for one in found)),
        *distances,
        f"{right} of {of}" if of else "",
        f"{np.median([one['seconds'] for one in found]):.2f}",
    ]
    return "| " + " | ".join(cells) + " |"

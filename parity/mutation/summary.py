"""What many outcomes come to: by operator, by file, as data and as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from parity.mutation.mutant import ENDS, Outcome
from parity.mutation.results import SCHEMA_VERSION

COLUMNS = ("mutants", "changed", "found", "exactly", "parent", "wrong", "survivors")


def counts(outcomes: Iterable[Outcome]) -> Counter[str]:
    """How many of `COLUMNS`."""
    total: Counter[str] = Counter()
    for outcome in outcomes:
        total["mutants"] += 1
        total["changed"] += outcome.changed
        total["found"] += outcome.found
        total["survivors"] += outcome.end == "survives"
        if outcome.named:
            total[outcome.named] += 1
    return total


def last_line(outcomes: Iterable[Outcome]) -> str:
    n = counts(outcomes)
    return (
        f"mutants {n['mutants']}, changed {n['changed']}, found {n['found']}, named exactly {n['exactly']}, "
        f"parent {n['parent']}, survivors {n['survivors']}"
    )


def grouped(outcomes: Iterable[Outcome], key: str) -> dict[str, list[Outcome]]:
    """Operator or file -> its outcomes."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.mutant[key], []).append(outcome)
    return dict(sorted(groups.items()))


def to_dict(outcomes: Sequence[Outcome], *, seed: int, seconds: float) -> dict[str, Any]:
    """The whole run as plain data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "seed": seed,
        "seconds": round(seconds, 1),
        "summary": last_line(outcomes),
        **{
            f"by_{key}": {name: counts(some) for name, some in grouped(outcomes, key).items()}
            for key in ("operator", "file")
        },
        "outcomes": [outcome.to_dict() for outcome in outcomes],
    }


def markdown(outcomes: Sequence[Outcome], *, seed: int, seconds: float) -> str:
    """The summary, both tables, and with their diffs whatever was missed, was named wrongly, or survived."""
    n = counts(outcomes)
    lines = [
        "# Mutants",
        "",
        f"Made by `python -m parity mutate --count {len(outcomes)} --seed {seed}` in {seconds / 60:.0f} minutes. "
        f"Of {n['mutants']} mutants {n['changed']} change something: of these {_share(n['found'], n['changed'])} are "
        f"found, {_share(n['exactly'], n['changed'])} named exactly, "
        f"{_share(n['exactly'] + n['parent'], n['changed'])} exactly or by the module around.",
        "",
        *(f"- {end} ({sum(outcome.end == end for outcome in outcomes)}): {meaning}" for end, meaning in ENDS.items()),
        "",
    ]
    for key in ("operator", "file"):
        lines += [f"| {key} | {' | '.join(COLUMNS)} |", f"|---|{'---:|' * len(COLUMNS)}"]
        lines += [f"| {' | '.join(cells)} |" for *cells, _ in _rows(outcomes, key)] + [""]
    for title, wanted in _CHAPTERS.items():
        chosen = [outcome for outcome in outcomes if wanted(outcome)]
        lines += [f"## {title}: {len(chosen)}", ""]
        lines += [line for outcome in chosen for line in _described(outcome)]
    return "\n".join(lines).rstrip() + "\n"


_CHAPTERS: dict[str, Callable[[Outcome], bool]] = {
    "Missed": lambda outcome: outcome.end == "missed",
    "Named wrongly": lambda outcome: outcome.named == "wrong",
    "Survivors": lambda outcome: outcome.end == "survives",
}


def _rows(outcomes: Iterable[Outcome], key: str) -> Iterator[list[str]]:
    """The cells of a table: operator or file, `COLUMNS`, and seconds."""
    for name, some in grouped(outcomes, key).items():
        group, seconds = counts(some), sum(outcome.seconds for outcome in some)
        yield [name, *(str(group[column]) for column in COLUMNS), f"{seconds:.0f}"]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "none"


def _described(outcome: Outcome) -> list[str]:
    mutant = outcome.mutant
    place = f"{mutant['file']}, `{mutant['place']}`" if mutant["place"] else mutant["file"]
    lines = [f"{outcome.number}. {mutant['operator']}: {place}" + ("" if outcome.reached else " (no stage runs it)")]
    if outcome.named == "wrong":
        few = [f"`{name}`" for name in outcome.culprits[:3]] or ["nobody"]
        lines.append(
            f"   blamed: {', '.join(few)}; expected: {', '.join(f'`{name}`' for name in outcome.expected[:3])}"
        )
    if outcome.evidence:
        lines.append(f"   {outcome.evidence}")
    if "\n" not in mutant["change"]:
        return [*lines, f"   {mutant['change']}", ""]
    return ["\n".join(lines), "", "```diff", *mutant["change"].splitlines()[2:], "```", ""]


def print_tables(outcomes: Sequence[Outcome], console: Any) -> None:
    """Both tables, for people at a terminal."""
    from rich.table import Table

    for key in ("operator", "file"):
        table = Table(key, *COLUMNS, "seconds")
        for cells in _rows(outcomes, key):
            table.add_row(*cells)
        console.print(table)


def passes(outcomes: Iterable[Outcome], found: float, exactly: float, around: float) -> bool:
    """Whether these shares of what changes something are found, named exactly, and exactly or by the parent."""
    n = counts(outcomes)
    named = n["exactly"] + n["parent"]
    return all(
        part >= share * n["changed"] for part, share in ((n["found"], found), (n["exactly"], exactly), (named, around))
    )

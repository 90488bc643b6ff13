"""`python -m parity mutate`: make mistakes by rules, and see whether the harness finds and names them."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from parity.mutation.bench import Bench
    from parity.mutation.mutant import Mutant, Outcome
    from parity.mutation.results import Results

#: Of the checkout, whose files are edited in memory.
ROOT = Path(__file__).resolve().parents[2]
#: Shares of the mutants that change something: found; named exactly; named exactly or by the module around.
SHARES = (0.97, 0.88, 0.95)


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "mutate",
        help="make mistakes by rules and see whether each is found and named",
        description="Makes mutants of the MLX side: of its code, and of the weights, settings and tokenizer that it "
        "loads. Exit status 0: of those that change something at least 97 % are found, 88 % are named exactly, and "
        "95 % exactly or by the module around.",
    )
    parser.add_argument("--count", type=int, default=60, metavar="N", help="how many (default: 60)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="a larger N goes on where a smaller one ends")
    parser.add_argument("--only", metavar="I,...", help="of these the ones of these numbers alone")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="how many at a time")
    parser.add_argument("--tests", action="store_true", help="run the nearest unit tests on survivors as well")
    parser.add_argument("--list", action="store_true", help="print the mutants and do nothing else")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="keep models, recordings and outcomes there, and go on from them"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a summary in Markdown")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from mlx_parity.report.terminal import make_console
    from parity.mutation.draw import Pool
    from parity.mutation.results import Results

    if arguments.count < 1 or arguments.jobs < 1:
        raise ValueError("--count and --jobs must be at least 1")
    with ExitStack() as stack:
        work = arguments.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        console, families = make_console(), _benches(work)
        mutants = dict(
            enumerate(Pool(ROOT, families[0].model, families[0].packed).draw(arguments.seed, arguments.count))
        )
        if arguments.only:
            mutants = {number: mutants[number] for number in map(int, arguments.only.split(","))}
        if arguments.list:
            for number, mutant in mutants.items():
                _print_mutant(number, mutant.to_dict(), console)
            return 0
        results, started = Results(work / f"seed{arguments.seed}.jsonl", ROOT, arguments.seed), time.perf_counter()
        try:
            _try(families, mutants, results, arguments, console)
        except KeyboardInterrupt:
            _report([results.outcomes[n] for n in mutants if n in results.outcomes], arguments, started, console)
            raise
        return _report([results.outcomes[number] for number in mutants], arguments, started, console)


def _benches(work: Path) -> list[Bench]:
    """The tiny models of both families, made where they are missing, and the first one in the form of a GPU.

    Mutants are of what the first one runs.
    """
    from converters.convert import convert
    from parity.models import ensure_model
    from parity.mutation.bench import Bench

    made = []
    for family, folder in (("cosyvoice2", work), ("cosyvoice3", work / "cosyvoice3")):
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint, model = ensure_model("tiny", folder, family=family)
        made.append(Bench(checkpoint, model, folder / "tiny-8bit", folder))
    if not made[0].packed.exists():
        convert(made[0].checkpoint, made[0].packed, quantize=8, group_size=32, quantize_components=("llm", "flow"))
    (work / "device").mkdir(exist_ok=True)
    return [*made, replace(made[0], folder=work / "device", form="device")]


def _try(
    families: list[Bench], mutants: dict[int, Mutant], results: Results, arguments: argparse.Namespace, console: Console
) -> None:
    from rich.console import Console as Screen

    from parity.mutation.campaign import Processes, prepare, try_all
    from parity.mutation.numeric_code import files

    left = [(number, mutant) for number, mutant in mutants.items() if number not in results.outcomes]
    if not left:
        return
    with Processes() as processes:
        with Screen(stderr=True).status("") as status:
            for bench in families:
                prepare(processes, bench, ROOT, files(ROOT), status.update)
        for outcome in try_all(processes, families, left, arguments.jobs, ROOT if arguments.tests else None):
            results.add(outcome)
            _print_outcome(outcome, f"{len(results.outcomes)}/{len(mutants)}", console)


def _print_outcome(outcome: Outcome, progress: str, console: Console) -> None:
    mutant = outcome.mutant
    named = f", named {outcome.named}: {', '.join(outcome.culprits[:2])}" if outcome.named else ""
    line = f"{progress:>8} {outcome.number} {mutant['operator']} in {mutant['file']} {mutant['place']}: {outcome.end}"
    console.print(f"{line}{named}  {outcome.seconds:.0f} s", markup=False)


def _print_mutant(number: int, mutant: dict[str, Any], console: Console) -> None:
    console.print(f"{number} {mutant['operator']} in {mutant['file']} {mutant['place']}", markup=False)
    for line in mutant["change"].splitlines()[2 if "\n" in mutant["change"] else 0 :]:
        console.print(f"  {line}", markup=False)


def _report(outcomes: list[Outcome], arguments: argparse.Namespace, started: float, console: Console) -> int:
    from mlx_parity.report.data import write_json, write_text
    from parity.mutation import summary

    seconds = time.perf_counter() - started
    for outcome in outcomes:
        if outcome.end in ("missed", "survives"):
            console.print(f"{outcome.end}: ", end="")
            _print_mutant(outcome.number, dict(outcome.mutant), console)
    summary.print_tables(outcomes, console)
    if arguments.json:
        write_json(summary.to_dict(outcomes, seed=arguments.seed, seconds=seconds), arguments.json)
    if arguments.markdown:
        write_text(arguments.markdown, summary.markdown(outcomes, seed=arguments.seed, seconds=seconds))
    console.print(f"{seconds:.0f} s")
    console.print(summary.last_line(outcomes))
    return 0 if summary.passes(outcomes, *SHARES) else 1

"""`python -m parity faults`: put known mistakes into the MLX model and see whether the harness names them."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from parity.faults.trial import Trial
    from parity.findings import RunReport

#: How many of the faults must be named exactly.
EXACT_SHARE = 0.95


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "faults",
        help="put known mistakes into the model and see whether each is named",
        description="Exit status 0: every fault is found, at least 95 % are named at the exact modules, and the "
        "healthy model has none.",
    )
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="official checkpoint (default: a tiny one)")
    parser.add_argument("--model", type=Path, metavar="DIR", help="MLX model converted from it")
    parser.add_argument(
        "--family", help="whose mistakes: cosyvoice2 or cosyvoice3 (default: of the checkpoint, cosyvoice2 without one)"
    )
    parser.add_argument("--only", metavar="NAME,...", help="these faults alone")
    parser.add_argument("--list", action="store_true", help="print the catalogue and do nothing else")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    parser.add_argument(
        "--audible",
        action="store_true",
        help="say instead what a listener notices of each, by the nano checkpoint (default: assets/nano)",
    )
    audible = parser.add_argument_group("with --audible")
    audible.add_argument(
        "--results",
        type=Path,
        default=Path("build/nano/audible.jsonl"),
        metavar="FILE",
        help="to go on with, where a run was stopped (default: build/nano/audible.jsonl)",
    )
    audible.add_argument(
        "--speaker-encoder", type=Path, metavar="ONNX", help="who judges likeness (default: the checkpoint's own)"
    )
    audible.add_argument("--markdown", type=Path, metavar="FILE", help="write the page there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from rich.markup import escape

    from mlx_parity.report.terminal import make_console
    from parity.faults import choose
    from parity.models import ensure_model
    from parity.stages.base import mode_title

    family = _family(arguments)
    faults = choose(arguments.only.split(",") if arguments.only is not None else None, family)
    console = make_console()
    if arguments.list:
        for fault in faults:
            console.print(f"[bold]{fault.name}[/] ({fault.stage}, {mode_title(fault.streaming)})")
            console.print(f"  {escape(fault.mistake)}", highlight=False)
        return 0
    if arguments.audible:
        return _listen(arguments, faults, console)
    if arguments.checkpoint:
        return _try(arguments.checkpoint, arguments.model, faults, arguments.json, console)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, model = ensure_model("tiny", Path(folder), family=family)
        return _try(checkpoint, model, faults, arguments.json, console)


def _family(arguments: argparse.Namespace) -> str:
    """Whose faults are tried.

    Raises:
        ValueError: those of another family than the checkpoint's.
    """
    from converters.families import official_of

    asked: str | None = arguments.family
    if not arguments.checkpoint:
        return asked or "cosyvoice2"
    found = official_of(arguments.checkpoint).family.model_type
    if asked not in (None, found):
        raise ValueError(f"--family {asked}: {arguments.checkpoint} is a checkpoint of {found}")
    return found


def _listen(arguments: argparse.Namespace, faults: list[Any], console: Console) -> int:
    """What a listener notices; 0 unless nothing can be heard at all, which is an error."""
    from rich.console import Console as Screen

    from converters.convert import convert
    from mlx_parity.report.data import write_text
    from parity.faults.audible.listener import Listener
    from parity.faults.audible.table import markdown
    from parity.faults.audible.trials import try_all
    from parity.nano.results import Results
    from parity.nano.weights import weights_of

    with tempfile.TemporaryDirectory() as folder, Screen(stderr=True).status("") as status:
        checkpoint = arguments.checkpoint or Path("assets/nano")
        model = arguments.model or convert(checkpoint, Path(folder) / "model").out
        results = Results(arguments.results, weights_of(checkpoint, model))
        try:
            listener = Listener(checkpoint, model, arguments.speaker_encoder)
        except ModuleNotFoundError as error:
            raise ValueError(str(error)) from error
        try_all(listener, results, faults, progress=status.update)
    page = markdown(results, faults)
    console.print(page, markup=False, highlight=False, soft_wrap=True)
    if arguments.markdown:
        write_text(arguments.markdown, page)
    return 0


def _try(checkpoint: Path, model: Path, faults: list[Any], json_file: Path | None, console: Console) -> int:
    from rich.console import Console as Screen

    from mlx_parity.report.data import write_json
    from parity.faults.trial import Bench
    from parity.inputs import load_inputs
    from parity.pair import load_pair

    started = time.perf_counter()
    trials = []
    with Screen(stderr=True).status("") as status:
        bench = Bench(load_pair(checkpoint, model), load_inputs(), faults, progress=status.update)
        healthy = bench.healthy()
        _print_healthy(healthy, console)
        for number, trial in enumerate(bench.try_all(faults), start=1):
            trials.append(trial)
            _print_trial(trial, f"{number}/{len(faults)}", console)
        tried = {trial.fault.name for trial in trials}
        missing = [fault.name for fault in faults if fault.name not in tried]
        if missing:
            console.print(f"not tried, as this model has no such module: {', '.join(missing)}", highlight=False)
    passed = _print_summary(trials, healthy, time.perf_counter() - started, console)
    if json_file:
        result = {
            "schema_version": 1,
            "family": bench.pair.model.family.model_type,
            "passed": passed,
            "healthy": [culprit.module for report in healthy for culprit in report.culprits],
            "faults": [trial.to_dict() for trial in trials],
        }
        write_json(result, json_file)
    return 0 if passed else 1


def _print_healthy(reports: list[RunReport], console: Console) -> None:
    from mlx_parity.report.culprits import print_culprits

    for report in reports:
        console.print(f"healthy model, {report.mode}: {report.verdict.value}, {len(report.culprits)} culprits")
        if report.culprits or report.unobserved:
            print_culprits(report, console)


def _print_trial(trial: Trial, number: str, console: Console) -> None:
    from rich.markup import escape

    mark = "[green]named[/]" if trial.exact else "[yellow]found[/]" if trial.found else "[red]missed[/]"
    first = trial.culprits[0] if trial.culprits else None
    more = f" and {len(trial.named) - 1} more" if len(trial.named) > 1 else ""
    named = f"{escape(first.module)}{more} ({first.kind})" if first else "nothing"
    console.print(f"{number:>7} {mark} {trial.fault.name}: {named}  {trial.seconds:.1f} s", highlight=False)
    if not trial.exact:
        console.print(f"        {escape(trial.reason)}", highlight=False)


def _print_summary(trials: list[Trial], healthy: list[RunReport], seconds: float, console: Console) -> bool:
    found, exact = sum(trial.found for trial in trials), sum(trial.exact for trial in trials)
    console.print(f"\nfound {found} / {len(trials)}, named exactly {exact} / {len(trials)}, {seconds:.0f} s")
    for trial in trials:
        if not trial.exact:
            console.print(f"  {trial.fault.name}: {trial.reason}", highlight=False, markup=False)
    blamed = any(report.culprits or report.unobserved for report in healthy)
    return found == len(trials) and exact >= EXACT_SHARE * len(trials) and not blamed

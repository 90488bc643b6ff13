"""Command line: `mlx-parity COMMAND`, or `python -m mlx_parity COMMAND`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from mlx_parity.captures.reports import read_report, write_report
from mlx_parity.findings import RunReport
from mlx_parity.port_file import load_port_file
from mlx_parity.report.culprits import print_culprits, to_dict
from mlx_parity.report.data import to_dict as whole_dict
from mlx_parity.report.html import write_html
from mlx_parity.report.markdown import write_outputs
from mlx_parity.report.terminal import make_console, print_report

INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run the command line. Bad input gives one line on stderr and exit status 2, never a pass."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlx-parity",
        description="Runs a PyTorch model and its MLX port on the same inputs and says where they part. "
        "Exit status: 0 all pass, 1 something diverged, 2 something could not be observed.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, run: Callable[[argparse.Namespace], int], what: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=what, description=what)
        command.set_defaults(run=run)
        return command

    for name, what in (
        ("run", "compare both models, layer by layer, and name who is to blame"),
        ("compare", "the same with a capture in place of the PyTorch model"),
        ("localise", "name who is to blame, and nothing else"),
    ):
        command = add(name, _run, what)
        command.add_argument(
            "file", type=Path, help="what is to be compared: see `python -m pydoc mlx_parity.port_file`"
        )
        command.add_argument("--capture", type=Path, metavar="DIR", required=name == "compare", help="of the reference")
        command.add_argument("--layers", choices=("all", "failed", "none"), default="failed", help="which are printed")
        command.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
        command.add_argument("--markdown", type=Path, metavar="FILE", help="write a summary in Markdown")
        command.add_argument("--report", type=Path, metavar="DIR", help="write report.html and what it is made from")
    command = add("capture", _capture, "run the reference alone, and keep what it did")
    command.add_argument("file", type=Path, help="what is to be captured")
    command.add_argument("--out", type=Path, metavar="DIR", required=True, help="where to keep it")
    command = add("report", _report, "make report.html again from what --report has written")
    command.add_argument("folder", type=Path, help="that folder")
    return parser


def _compared(arguments: argparse.Namespace) -> RunReport:
    file = load_port_file(arguments.file)
    with Console(stderr=True).status("") as status:
        options: dict[str, Any] = {"factor": file.factor, "progress": status.update}
        if arguments.capture:
            return file.pipeline.compare(arguments.capture, **options)
        return file.pipeline.run(file.inputs, seed=file.seed, **options)


def _run(arguments: argparse.Namespace) -> int:
    report, console, culprits_alone = _compared(arguments), make_console(), arguments.command == "localise"
    if not culprits_alone:
        print_report(report, console, arguments.layers)
    if culprits_alone or report.culprits:
        print_culprits(report, console)
    _write(report, to_dict(report) if culprits_alone else whole_dict(report), arguments, console)
    return report.verdict.exit_code


def _capture(arguments: argparse.Namespace) -> int:
    file = load_port_file(arguments.file)
    file.pipeline.capture(arguments.out, file.inputs, seed=file.seed)
    print(f"written: {arguments.out}; now: mlx-parity compare {arguments.file} --capture {arguments.out}")
    return 0


def _report(arguments: argparse.Namespace) -> int:
    report, about = read_report(arguments.folder)
    _page(report, about, arguments.folder)
    print(f"written: {arguments.folder / 'report.html'}")
    return report.verdict.exit_code


def _write(report: RunReport, result: dict[str, Any], arguments: argparse.Namespace, console: Console) -> None:
    def page(folder: Path) -> None:
        about = {"file": str(arguments.file), "capture": str(arguments.capture or "")}
        write_report(report, about, folder)
        _page(report, about, folder)

    for path in write_outputs(report, result, arguments, page):
        console.print(f"written: {path}")


def _page(report: RunReport, about: dict[str, str], folder: Path) -> None:
    capture = f" --capture {about['capture']}" if about["capture"] else ""
    write_html(
        report,
        whole_dict(report),
        folder / "report.html",
        title=f"{Path(about['file']).stem} parity",
        facts=about,
        command=lambda name, stage: f"mlx-parity {name} {about['file']}{capture}",
    )


if __name__ == "__main__":
    sys.exit(main())

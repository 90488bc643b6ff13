"""Command line: `python -m parity run | demo`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import mlx_cosyvoice  # noqa: F401  (loads the BLAS before mlx)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m parity",
        description="Runs the PyTorch reference and the MLX model on the same inputs and says where they part. "
        "Exit status: 0 all pass, 1 something diverged, 2 something could not be observed.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    run = commands.add_parser("run", help="compare every stage, layer by layer")
    run.add_argument("--checkpoint", type=Path, required=True, metavar="DIR", help="official checkpoint folder")
    run.add_argument("--model", type=Path, required=True, metavar="DIR", help="MLX model converted from it")
    run.add_argument("--stages", nargs="+", metavar="STAGE", help="only these (default: all)")
    run.add_argument("--audio", type=Path, metavar="WAV", help="a recording (default: the sample in the project)")
    run.add_argument("--transcript", default="", help="what is said in the recording")
    run.add_argument("--text", help="what to speak")
    run.add_argument("--streaming", action="store_true", help="with the chunk masks of streaming synthesis")
    run.add_argument("--seed", type=int, default=0, help="of all random draws (default: 0)")
    run.add_argument("--layers", choices=("all", "failed", "none"), default="all", help="which layers to print")
    run.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    run.add_argument("--report", type=Path, metavar="DIR", help="write report.html and parity.json there")

    demo = commands.add_parser("demo", help="build a tiny checkpoint, convert it, compare, and speak")
    demo.add_argument("--out", type=Path, default=Path("build/demo"), metavar="DIR")
    demo.add_argument("--audio", type=Path, metavar="WAV", help="a recording (default: the sample in the project)")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from parity.inputs import DEFAULT_TEXT, load_inputs
    from parity.pair import load_pair
    from parity.report import data, html, terminal
    from parity.run import run
    from parity.stages import Settings

    console = terminal.make_console()
    inputs = load_inputs(arguments.audio, arguments.transcript, arguments.text or DEFAULT_TEXT)
    pair = load_pair(arguments.checkpoint, arguments.model)
    with Console(stderr=True).status("") as status:
        report = run(
            pair,
            inputs,
            stages=arguments.stages,
            settings=Settings(streaming=arguments.streaming),
            seed=arguments.seed,
            progress=lambda stage: status.update(f"comparing: {stage}"),
        )
    terminal.print_report(report, console, arguments.layers)
    result = data.to_dict(report, checkpoint=str(arguments.checkpoint), model=str(arguments.model))
    if arguments.json:
        data.write_json(result, arguments.json)
    if arguments.report:
        data.write_json(result, arguments.report / "parity.json")
        html.write_html(report, result, arguments.report / "report.html")
        console.print(f"report: {arguments.report / 'report.html'}")
    return report.verdict.exit_code


def _demo(arguments: argparse.Namespace) -> int:
    from parity.demo import demo
    from parity.report.terminal import make_console

    return demo(arguments.out, arguments.audio, make_console()).exit_code


def main(argv: list[str] | None = None) -> int:
    """Run the command line. Bad input gives one line on stderr and exit status 2, never a pass."""
    arguments = _parser().parse_args(argv)
    try:
        return {"run": _run, "demo": _demo}[arguments.command](arguments)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())

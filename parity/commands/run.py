"""`python -m parity run`: compare every stage, layer by layer."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from parity.findings import RunReport
    from parity.pair import Pair
    from parity.stages.base import Streaming


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("run", help="compare every stage, layer by layer")
    add_pair_arguments(parser)
    parser.add_argument(
        "--capture", type=Path, metavar="DIR", help="what `parity capture` has kept, in place of running the reference"
    )
    parser.add_argument("--layers", choices=("all", "failed", "none"), default="all", help="which layers to print")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write report.html and parity.json there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a summary in Markdown")
    parser.add_argument(
        "--speaker-encoder", type=Path, metavar="ONNX", help="judges how like the voice is (default: the checkpoint's)"
    )
    parser.add_argument(
        "--coverage", action="store_true", help="run every mode, and list the lines of networks and decoders not run"
    )
    parser.set_defaults(run=run)


def add_pair_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every command that looks at a pair of models."""
    parser.add_argument(
        "--checkpoint", type=Path, required=True, metavar="DIR", help="official checkpoint: folder or hub id"
    )
    parser.add_argument(
        "--model", type=Path, required=True, metavar="DIR", help="MLX model converted from it: folder or hub id"
    )
    parser.add_argument("--llm", metavar="FILE", help="the --llm that the model was converted with")
    parser.add_argument("--stages", nargs="+", metavar="STAGE", help="only these (default: all)")
    parser.add_argument("--audio", type=Path, metavar="WAV", help="a recording (default: the sample in the project)")
    parser.add_argument("--transcript", default="", help="what is said in the recording")
    parser.add_argument("--text", help="what to speak")
    parser.add_argument(
        "--streaming",
        nargs="?",
        const="official",
        choices=("official", "incremental"),
        help="as speech is streamed: by upstream's hops, each over the whole prefix (default), or chunk by chunk with "
        "caches",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all random draws (default: 0)")


def load_both(arguments: argparse.Namespace) -> tuple[Pair, dict[str, Any]]:
    """The pair and the inputs that these options name."""
    from parity.inputs import DEFAULT_TEXT, load_inputs
    from parity.pair import load_pair

    inputs = load_inputs(arguments.audio, arguments.transcript, arguments.text or DEFAULT_TEXT)
    return load_pair(arguments.checkpoint, arguments.model, arguments.llm), inputs


def run(arguments: argparse.Namespace) -> int:
    from mlx_parity.report import culprits, terminal
    from parity.heard import listen
    from parity.listening import official_encoder

    if arguments.coverage:
        return print_coverage(arguments)
    embed = official_encoder(arguments.speaker_encoder) if arguments.speaker_encoder else None
    pair, inputs = load_both(arguments)
    report, console = compare(pair, inputs, arguments, arguments.streaming), terminal.make_console()
    if not arguments.stages and not arguments.capture:  # a recording of the reference has its own inputs
        report.heard = listen(pair, inputs, report.settings, arguments.seed, embed)
    terminal.print_report(report, console, arguments.layers)
    if report.culprits:
        culprits.print_culprits(report, console)
    write(report, arguments, console)
    return report.verdict.exit_code


def print_coverage(arguments: argparse.Namespace) -> int:
    """Which lines no stage comes to in any mode; the exit status is that of the runs."""
    from mlx_parity.compare import worst
    from mlx_parity.report.terminal import make_console
    from parity.coverage import PACKAGE, watched_lines
    from parity.stages.base import STREAMING

    console = make_console()
    with watched_lines() as coverage:
        pair, inputs = load_both(arguments)
        verdict = worst([compare(pair, inputs, arguments, mode).verdict for mode in (None, *STREAMING)])
    missed = coverage.missed_of(pair.model.family)
    for file, lines in missed.items():
        source = (PACKAGE / file).read_text(encoding="utf-8").splitlines()
        for line, function in lines.items():
            console.print(
                f"{PACKAGE.name}/{file}:{line}: {function}: {source[line - 1].strip()}", highlight=False, markup=False
            )
    console.print(f"{sum(map(len, missed.values()))} lines were not run; verdict: {verdict.value}")
    return verdict.exit_code


def compare(
    pair: Pair, inputs: dict[str, Any], arguments: argparse.Namespace, streaming: Streaming | None
) -> RunReport:
    """Run the stages that the options name in one mode, and show what is going on."""
    from rich.console import Console

    from parity.run import run
    from parity.stages import Settings

    settings = Settings(streaming=streaming)
    chosen = {"stages": arguments.stages, "seed": arguments.seed, "recorded": getattr(arguments, "capture", None)}
    with Console(stderr=True).status("") as status:
        return run(pair, inputs, settings=settings, progress=status.update, **chosen)


def write(
    report: RunReport, arguments: argparse.Namespace, console: Console, found: dict[str, Any] | None = None
) -> None:
    """Write what `--report`, `--json` (`found`, or else the whole run) and `--markdown` ask for, and say so."""
    from mlx_parity.report.data import write_json
    from mlx_parity.report.markdown import write_outputs
    from parity.report import data, html

    @functools.cache
    def whole() -> dict[str, Any]:
        result = data.to_dict(report, checkpoint=str(arguments.checkpoint), model=str(arguments.model))
        # `localise` can put one in on purpose
        return result | ({"fault": arguments.fault} if getattr(arguments, "fault", None) else {})

    def page(folder: Path) -> None:
        write_json(whole(), folder / "parity.json")
        html.write_html(report, whole(), folder / "report.html")

    for path in write_outputs(report, found or whole(), arguments, page):
        console.print(f"written: {path}")

"""`python -m parity bench`: how fast MLX is beside PyTorch, stage by stage."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mlx_cosyvoice.families import FAMILIES


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "bench",
        help="how fast MLX is beside the PyTorch reference, stage by stage",
        description="Both sides run on the same inputs, each in a process of its own, by turns.",
    )
    parser.add_argument(
        "--size",
        choices=("tiny", "full"),
        default="tiny",
        help="of the synthetic checkpoint that is "
        "made in build/ where --checkpoint names none (default: tiny; full takes 6 GB of disk)",
    )
    parser.add_argument("--family", choices=list(FAMILIES), default="cosyvoice2", help="of that (default: cosyvoice2)")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="official checkpoint folder")
    parser.add_argument("--model", type=Path, metavar="DIR", help="MLX model converted from it")
    parser.add_argument(
        "--stages",
        nargs="+",
        metavar="STAGE",
        help="some of: speech_tokenizer speaker_encoder llm_prefill llm_prefill_lean llm_decode llm_decode_lean flow "
        "vocoder f0_predictor pipeline voice_prefill load conversion (the default; lean: PyTorch without the text "
        "logits that it computes for nobody, as upstream does), hops (every hop of every decoder), lengths (flow and "
        "vocoder against length); or all",
    )
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="counted runs of each side (default: 5)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="on both sides (default: all cores)")
    parser.add_argument(
        "--lengths",
        default="2,5,10,20,40",
        metavar="S,...",
        help="seconds of speech for `lengths`; `hops` says the longest (default: 2,5,10,20,40)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=10,
        metavar="N",
        help="Euler steps of the flow (default: 10). `hops` over 40 s at full size holds 10 GB at 10 steps; fewer take "
        "less time and memory",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table in Markdown")
    parser.add_argument("--plot", type=Path, metavar="DIR", help="draw charts as PNG files there")
    parser.set_defaults(run=run)


def _lengths(text: str) -> list[float]:
    try:
        values = sorted({float(word) for word in text.split(",")})
    except ValueError:
        values = []
    if not values or not all(0.5 <= value <= 250 for value in values):
        raise ValueError(f"--lengths must be seconds from 0.5 to 250, parted by commas, not {text!r}")
    return values


def run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from mlx_parity.report.data import write_json, write_text
    from mlx_parity.report.terminal import make_console
    from parity.bench import charts, table
    from parity.bench.suite import DEFAULT, NAMES, Options, run_suite
    from parity.models import ensure_model

    if arguments.threads < 0:
        raise ValueError(f"--threads must be at least 1, not {arguments.threads}")
    stages = arguments.stages or DEFAULT
    options = Options(
        stages=NAMES if "all" in stages else stages,
        repeats=arguments.repeats,
        threads=arguments.threads,
        lengths=_lengths(arguments.lengths),
        steps=arguments.steps,
    )
    console, size = make_console(), ""
    checkpoint, model = arguments.checkpoint, arguments.model
    if not checkpoint:
        size, folder = f"{arguments.size} {arguments.family}", Path("build", arguments.family)
        checkpoint, model = ensure_model(arguments.size, folder, console.print, family=arguments.family)
    with Console(stderr=True).status("") as status:
        data = run_suite(checkpoint, model, options, size=size, progress=lambda title: status.update(title))
    table.print_result(data, console)
    written = []
    if arguments.json:
        write_json(data, arguments.json)
        written.append(arguments.json)
    if arguments.markdown:
        write_text(arguments.markdown, table.markdown(data))
        written.append(arguments.markdown)
    if arguments.plot:
        written += charts.draw(data, arguments.plot)
    for path in written:
        console.print(f"written: {path}")
    return 0

"""`python -m parity drift`: which layers cost how much when a network runs in a lower precision."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

#: The frames that the flow is run on cost most of the time; a second of prompt is enough to rank layers.
PROMPT_SECONDS = 1.0
LLM_STEPS = 24
EULER_STEPS = 10


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("drift", help="rank layers by what a lower precision of theirs costs")
    parser.add_argument("--checkpoint", type=Path, required=True, metavar="DIR", help="official checkpoint folder")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="MLX model converted in float32")
    parser.add_argument(
        "--dtypes", default="float16,bfloat16", metavar="NAMES", help="some of float16,bfloat16,q8,q4 (default: halves)"
    )
    parser.add_argument("--stages", nargs="+", metavar="STAGE", help="some of llm flow vocoder (default: all)")
    parser.add_argument("--group-size", type=int, default=64, help="of q8 and q4: 32, 64 or 128 (default: 64)")
    parser.add_argument("--verify", type=_count, default=5, metavar="N", help="groups that are run alone (default: 5)")
    parser.add_argument("--rows", type=_count, default=12, metavar="N", help="rows of each ranking (default: 12)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    parser.add_argument(
        "--recipe",
        type=Path,
        metavar="FILE",
        help="write the proposed exceptions of one precision for `python -m converters --recipe FILE`",
    )
    parser.add_argument("--audio", type=Path, metavar="WAV", help="a recording (default: the sample in the project)")
    parser.add_argument(
        "--prompt-seconds", type=_seconds, default=PROMPT_SECONDS, metavar="S", help="of the recording (default: 1)"
    )
    parser.add_argument("--llm-steps", type=_count, default=LLM_STEPS, metavar="N", help="tokens (default: 24)")
    parser.add_argument(
        "--euler-steps",
        type=_count,
        default=EULER_STEPS,
        metavar="N",
        help="of the flow; memory grows with them: about 1 GB each at full size (default: 10)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all random draws (default: 0)")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {value}")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.5 <= value <= 30:
        raise argparse.ArgumentTypeError(f"must lie in 0.5..30, not {value:g}")
    return value


def run(arguments: argparse.Namespace) -> int:
    from rich.console import Console

    from mlx_parity.report.data import write_json
    from mlx_parity.report.terminal import make_console
    from parity.drift import drift
    from parity.drift.rounding import parse_precision
    from parity.inputs import load_inputs, shortened
    from parity.pair import load_pair
    from parity.report import drift as show
    from parity.stages import Settings

    names = [name.strip() for name in arguments.dtypes.split(",") if name.strip()]
    if not names:
        raise ValueError("--dtypes names none")
    precisions = [parse_precision(name, arguments.group_size) for name in dict.fromkeys(names)]
    if arguments.recipe and len(precisions) != 1:
        raise ValueError(f"--recipe is for one precision: name it with --dtypes, instead of {','.join(names)}")
    inputs = shortened(load_inputs(arguments.audio), arguments.prompt_seconds)
    pair = load_pair(arguments.checkpoint, arguments.model)
    with Console(stderr=True).status("") as status:
        report = drift(
            pair,
            inputs,
            precisions,
            stages=arguments.stages,
            settings=Settings(llm_steps=arguments.llm_steps, n_timesteps=arguments.euler_steps),
            seed=arguments.seed,
            verified=arguments.verify,
            progress=status.update,
        )
    show.print_drift(report, make_console(), arguments.rows)
    if arguments.json:
        write_json(
            show.to_dict(report, checkpoint=str(arguments.checkpoint), model=str(arguments.model)), arguments.json
        )
    if arguments.recipe:
        write_json(show.recipe(report), arguments.recipe)
    return 0

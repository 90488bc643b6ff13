"""`python -m parity streaming`: what bounding the state of the incremental flow costs."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

DEFAULT_OPTIONS = "float16,bfloat16,8,float16:8"
TOKENS_PER_SECOND = 25
#: Raised when a key of the JSON changes its meaning or goes away.
SCHEMA_VERSION = 1


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "streaming",
        help="what half-precision state and a left-context limit cost the incremental flow",
        description="Speaks the recording's own tokens, repeated as often as need be, in the recording's voice: chunk "
        "by chunk with every option, and compares with the exact mel.",
    )
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="converted MLX model")
    parser.add_argument("--audio", type=Path, metavar="WAV", help="a recording (default: the sample in the project)")
    parser.add_argument(
        "--options",
        default=DEFAULT_OPTIONS,
        metavar="LIST",
        help="DTYPE, CHUNKS or DTYPE:CHUNKS, parted by commas: the state's dtype, and how many chunks of a second "
        f"back a frame may attend (default: {DEFAULT_OPTIONS})",
    )
    parser.add_argument("--prompt-seconds", type=float, default=3.0, metavar="S", help="of the recording (default: 3)")
    parser.add_argument("--seconds", type=float, default=12.0, metavar="S", help="of speech (default: 12)")
    parser.add_argument("--euler-steps", type=int, default=10, metavar="N", help="of the flow (default: 10)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import mlx.core as mx
    import numpy as np
    from rich.console import Console

    from mlx_cosyvoice.model import CosyVoice2
    from mlx_cosyvoice.prompt import Prompt
    from mlx_parity.report.data import write_json
    from mlx_parity.report.terminal import make_console
    from parity.drift.streaming_state import measure, parse_option
    from parity.inputs import SAMPLE
    from parity.report.streaming import print_options

    options = [parse_option(word.strip()) for word in arguments.options.split(",") if word.strip()]
    prompt_tokens, tokens = (
        round(seconds * TOKENS_PER_SECOND) for seconds in (arguments.prompt_seconds, arguments.seconds)
    )
    if tokens < 1 or prompt_tokens < 0:
        raise ValueError("--seconds must be more than 0, and --prompt-seconds 0 or more")
    model = CosyVoice2.load(arguments.model, dtype=None)
    if model.flow is None:
        raise ValueError(f"{arguments.model} has no flow: convert all components")
    voice = model.clone(arguments.audio or SAMPLE)
    if prompt_tokens > voice.prompt_token.shape[1]:
        raise ValueError(f"the recording has {voice.seconds:.1f} s only, fewer than --prompt-seconds")
    prompt = Prompt(
        mx.array(voice.prompt_token[:, :prompt_tokens]),
        mx.array(voice.prompt_feat[:, : prompt_tokens * model.config.token_mel_ratio]),
        mx.array(voice.embedding),
    )
    token = np.resize(voice.prompt_token[0], tokens).tolist()
    with Console(stderr=True).status("") as status:
        report = measure(model.flow, prompt, token, options, n_timesteps=arguments.euler_steps, progress=status.update)
    print_options(report, make_console())
    if arguments.json:
        result = {"schema_version": SCHEMA_VERSION, "model": str(arguments.model), **asdict(report)}
        write_json(result, arguments.json)
    return 0

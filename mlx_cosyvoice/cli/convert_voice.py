"""`mlx-cosyvoice convert-voice`: a recording, spoken by another voice."""

from __future__ import annotations

import argparse

from mlx_cosyvoice.cli import arguments as common
from mlx_cosyvoice.cli.deliver import deliver
from mlx_cosyvoice.cli.prepare import check, prepare
from mlx_cosyvoice.cli.recordings import add_part, check_recording, part_of

NAME = "convert-voice"
HELP = "Say what a recording says, as it says it, in another voice."

_EXAMPLES = """examples:
  mlx-cosyvoice convert-voice me.wav --voice anna --model DIR --out anna-says-it.wav
  mlx-cosyvoice convert-voice me.wav --prompt anna.wav --out anna-says-it.flac
  mlx-cosyvoice convert-voice lecture.mp3 --start 1:30 --end 42:00 --voice anna --out lecture.flac"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLES
    parser.add_argument("source", metavar="SOURCE", help="the recording to say again, of any length")
    add_part(parser, "SOURCE")
    common.add_model(parser)
    common.add_voice(parser, speaker=False)
    common.add_output(parser)
    common.add_synthesis(parser)


def run(arguments: argparse.Namespace) -> int:
    check(arguments)
    part = part_of(arguments)
    check_recording(arguments.source, part, of_any_length=True)
    prepared = prepare(arguments)
    return deliver(
        arguments,
        prepared.model.sample_rate,
        lambda: prepared.model.convert_voice(
            arguments.source,
            prepared.voice,
            decoding=prepared.decoding,
            speed=arguments.speed,
            seed=arguments.seed,
            n_timesteps=arguments.steps,
            **part,
        ),
        prepared.facts,
    )

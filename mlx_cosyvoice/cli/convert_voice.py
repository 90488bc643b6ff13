"""`mlx-cosyvoice convert-voice`: a recording, spoken by another voice."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from mlx_cosyvoice.cli import arguments as common
from mlx_cosyvoice.cli.deliver import deliver
from mlx_cosyvoice.cli.options import SpeechOptions, runs
from mlx_cosyvoice.cli.prepare import check, prepare
from mlx_cosyvoice.cli.recordings import add_part, check_recording

NAME = "convert-voice"
HELP = "Say what a recording says, as it says it, in another voice."

_EXAMPLES = """examples:
  mlx-cosyvoice convert-voice me.wav --voice anna --model DIR --out anna-says-it.wav
  mlx-cosyvoice convert-voice me.wav --prompt anna.wav --out anna-says-it.flac
  mlx-cosyvoice convert-voice lecture.mp3 --start 1:30 --end 42:00 --voice anna --out lecture.flac"""


@dataclass(frozen=True)
class ConvertVoiceOptions(SpeechOptions):
    """What `convert-voice` is asked for; `source` from `start` to `end`, in seconds, is said again."""

    source: str
    start: float | None
    end: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXAMPLES
    parser.add_argument("source", metavar="SOURCE", help="the recording to say again, of any length")
    add_part(parser, "SOURCE")
    common.add_model(parser)
    common.add_voice(parser, speaker=False)
    common.add_output(parser)
    common.add_synthesis(parser)
    runs(parser, ConvertVoiceOptions, run)


def run(options: ConvertVoiceOptions) -> int:
    check(options)
    check_recording(options.source, options.start, options.end, of_any_length=True)
    prepared = prepare(options)
    return deliver(
        options.output,
        prepared.model.sample_rate,
        lambda: prepared.model.convert_voice(
            options.source,
            prepared.voice,
            start=options.start or 0.0,
            end=options.end,
            decoding=prepared.decoding,
            speed=options.synthesis.speed,
            seed=options.synthesis.seed,
            n_timesteps=options.synthesis.steps,
        ),
        prepared.facts,
    )

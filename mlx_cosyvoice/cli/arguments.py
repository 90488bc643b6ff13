"""Arguments that several commands have; `cli.options` holds what they become."""

from __future__ import annotations

import argparse

from mlx_cosyvoice.cli.options import DTYPES, MODEL_VARIABLE
from mlx_cosyvoice.cli.recordings import add_part


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="DIR",
        help=f"model folder written by `python -m converters`, or hub repository (default: ${MODEL_VARIABLE})",
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="auto",
        help="what all networks compute in; stored: what the model folder holds, quantized layers as they are; auto: "
        "float32 on the CPU, which is slow at anything else, and what the folder holds on other devices "
        "(default: auto)",
    )


def add_voice(parser: argparse.ArgumentParser, *, speaker: bool) -> None:
    group = parser.add_argument_group("voice")
    one = group.add_mutually_exclusive_group(required=True)
    one.add_argument(
        "--voice", metavar="NAME", help="a voice of the library (`mlx-cosyvoice voices list`), or its file"
    )
    one.add_argument("--prompt", metavar="WAV", help="a recording of 3 to 30 s whose voice to take")
    add_part(group, "the prompt", prompt=True, short=speaker)
    if speaker:
        one.add_argument("--speaker", metavar="NAME", help="a speaker that the model brings (`mlx-cosyvoice info`)")
        group.add_argument(
            "--transcript",
            metavar="TEXT",
            help="what is said in the recording, word for word; without it modes cross_lingual and instruct2 remain",
        )
    else:
        parser.set_defaults(speaker=None, transcript=None)
    group.add_argument(
        "--voices", metavar="DIR", help="the library's folder (default: $MLX_COSYVOICE_VOICES, or yours)"
    )


def add_synthesis(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("synthesis")
    group.add_argument(
        "--decoding",
        choices=("offline", "official", "incremental"),
        help="offline: all of a sentence group at once, the best audio; official: chunks while the speech is still "
        "being made, the first after about a second of it; incremental: the same at a cost that does not grow with the "
        "speech, for more memory (default: offline for a file, official where audio is heard at once)",
    )
    group.add_argument("--speed", type=float, default=1.0, metavar="X", help="2 is twice as fast; offline only")
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="the same seed gives the same audio (default: 0)"
    )
    group.add_argument("--steps", type=int, default=10, metavar="N", help="steps of the flow (default: 10)")


def add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out", metavar="FILE", help="audio file: .wav, .flac, .ogg, .opus, .mp3 or .raw; - is raw audio to stdout"
    )
    group.add_argument("--format", metavar="NAME", help="wav, flac, ogg, opus, mp3 or raw, whatever the extension")
    group.add_argument(
        "--subtype", metavar="NAME", help="wav: pcm16, pcm24, float; flac: pcm16, pcm24; ogg: vorbis, opus"
    )
    group.add_argument("--force", action="store_true", help="replace the file if it exists")
    group.add_argument("--play", action="store_true", help="play it (pip install 'mlx-cosyvoice[play]')")
    group.add_argument("--json", action="store_true", help="print figures as one JSON object (on stderr with --out -)")
    group.add_argument("--quiet", action="store_true", help="no progress and no summary, errors only")

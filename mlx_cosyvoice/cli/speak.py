"""`mlx-cosyvoice speak`: a text to audio."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import dataclass

from mlx_cosyvoice.cli import arguments as common
from mlx_cosyvoice.cli.deliver import deliver
from mlx_cosyvoice.cli.encodings import text_encoding
from mlx_cosyvoice.cli.options import SpeechOptions, runs
from mlx_cosyvoice.cli.prepare import check, prepare
from mlx_cosyvoice.cli.reading import StandardInput, read_text_file

NAME = "speak"
HELP = "Speak a text: write it to an audio file while it is made, play it, or pipe it on."

_ABOUT = f"""{HELP}

The text is an argument, a file, or standard input (-), which is spoken while it is still being written. A wav file
grows under the name FILE.partial.wav, which can be played at any time, also after a crash; at the end, and after
Ctrl-C, it gets its final name."""

_EXAMPLES = """examples:
  mlx-cosyvoice speak "Hello there." --model DIR --prompt anna.wav --transcript "What Anna says in it." --out a.wav
  mlx-cosyvoice speak --file chapter.txt --voice anna --out chapter.mp3
  mlx-cosyvoice speak "I am so happy!" --voice anna --instruct "Speak fast and happily." --out happy.flac
  some-llm | mlx-cosyvoice speak - --voice anna --play
  some-llm | mlx-cosyvoice speak - --voice anna --out - | aplay -f S16_LE -r 24000"""


@dataclass(frozen=True)
class SpeakOptions(SpeechOptions):
    """What `speak` is asked for: `text` ("-" is standard input) or `file`, and how to say it."""

    text: str | None
    file: str | None
    encoding: str | None
    mode: str | None
    instruct: str | None
    normalize: str
    min_token_text_ratio: float
    max_token_text_ratio: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = _ABOUT, _EXAMPLES
    parser.add_argument("text", metavar="TEXT", nargs="?", help="what to say; - reads standard input as it comes")
    parser.add_argument("--file", metavar="FILE", help="a text file to speak instead")
    parser.add_argument(
        "--encoding",
        metavar="NAME",
        help="of the file or standard input, such as gb18030 or latin-1 (default: what its byte order mark says, "
        "UTF-8, or GB18030 where that gives Chinese)",
    )
    common.add_model(parser)
    common.add_voice(parser, speaker=True)
    common.add_output(parser)
    common.add_synthesis(parser)
    group = parser.add_argument_group("how to speak")
    group.add_argument(
        "--mode",
        choices=("zero_shot", "cross_lingual", "instruct2", "sft"),
        help="default: instruct2 with --instruct, sft for a speaker's embedding, zero_shot where the transcript is "
        "known, else cross_lingual",
    )
    group.add_argument("--instruct", metavar="TEXT", help="how to say it, such as 'Speak softly.' or '用四川话说'")
    group.add_argument(
        "--normalize",
        choices=("spoken", "upstream", "off"),
        default="spoken",
        help="how numbers, signs and markdown are read: as people would say it (default), as upstream does, or not",
    )
    group.add_argument(
        "--no-normalize", dest="normalize", action="store_const", const="off", help="the same as --normalize off"
    )
    group.add_argument(
        "--min-token-text-ratio", type=float, default=2, metavar="X", help="speech tokens a text token, at least (2)"
    )
    group.add_argument(
        "--max-token-text-ratio", type=float, default=20, metavar="X", help="speech tokens a text token, at most (20)"
    )
    runs(parser, SpeakOptions, run)


def run(options: SpeakOptions) -> int:
    text = _text(options)
    check(options)
    with contextlib.nullcontext() if isinstance(text, str) else contextlib.closing(text):
        prepared = prepare(options, arriving=not isinstance(text, str))
        return deliver(
            options.output,
            prepared.model.sample_rate,
            lambda: prepared.model.stream(
                text,
                prepared.voice,
                mode=options.mode,
                instruction=options.instruct,
                decoding=prepared.decoding,
                speed=options.synthesis.speed,
                seed=options.synthesis.seed,
                normalize=options.normalize,
                n_timesteps=options.synthesis.steps,
                min_token_text_ratio=options.min_token_text_ratio,
                max_token_text_ratio=options.max_token_text_ratio,
            ),
            prepared.facts,
        )


def _text(options: SpeakOptions) -> str | StandardInput:
    if (options.text is None) == (options.file is None):
        raise ValueError("give either TEXT, or - for standard input, or --file FILE")
    encoding = None if options.encoding is None else text_encoding(options.encoding)
    if options.text == "-":
        return StandardInput(encoding)
    if encoding is not None and options.file is None:
        raise ValueError("--encoding belongs to --file or to - (standard input)")
    text = options.text or "" if options.file is None else read_text_file(options.file, encoding)
    if not any(sign.isalnum() for sign in text):
        what = "the text has no letter or digit" if text.strip() else "the text is empty"
        raise ValueError(f"nothing to say: {what}")
    return text

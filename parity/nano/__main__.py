"""`python -m parity.nano`: what a recogniser hears when the nano model speaks strings that its training never saw.

`python -m parity.nano choices` is another command: what the choices cost that a user can make.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mlx_cosyvoice.cli.interrupts import INTERRUPTED
from mlx_parity.report.data import write_text
from parity.nano import choices
from parity.nano.bench import Bench
from parity.nano.cases import BESIDE, VOICES
from parity.nano.measures import MEASURES
from parity.nano.results import Results
from parity.nano.run import measure_all
from parity.nano.summary import criteria, markdown
from reference.nano.words import TESTS

#: The word that asks for the other command.
CHOICES = "choices"


def main(argv: list[str] | None = None) -> int:
    """Exit status 0: every bound of the acceptance that was measured is met; 1: one is missed; 2: it cannot be said."""
    arguments = parse(sys.argv[1:] if argv is None else argv)
    try:
        bench = Bench(arguments.checkpoint, arguments.model, arguments.work, arguments.speaker_encoder)
        results = Results(arguments.results or arguments.work / "eval.jsonl", bench.weights)
        if not arguments.summary:
            _measure(bench, results, arguments)
    except (OSError, LookupError, ValueError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: the next run goes on from here", file=sys.stderr)
        return INTERRUPTED
    text = choices.markdown(results) if arguments.choices else markdown(results)
    print(text)
    if arguments.markdown:
        write_text(arguments.markdown, text)
    return int(not arguments.choices and any(one.met is False for one in criteria(results)))


def _measure(bench: Bench, results: Results, arguments: argparse.Namespace) -> None:
    if arguments.speaker_encoder is None:
        print("without --speaker-encoder nobody says whose voice it is: likeness is left out", file=sys.stderr)
    voices, likeness = arguments.voices, arguments.speaker_encoder is not None
    if arguments.choices:
        groups, strings, texts = arguments.groups, arguments.strings, arguments.texts
        return choices.judge(bench, results, groups, voices, strings, texts, likeness=likeness)
    left_out = measure_all(bench, results, arguments.measures, voices, arguments.strings, likeness=likeness)
    if left_out:
        print(f"LEFT OUT, as flite is not installed (apt install flite): {', '.join(left_out)}", file=sys.stderr)


def parse_strings(text: str) -> range:
    """How many of the held-out strings, as "20", or which, as "20:40".

    Raises:
        ArgumentTypeError: it is neither, or there are not so many.
    """
    first, _, last = text.rpartition(":")
    if (first or "0").isdecimal() and last.isdecimal() and int(first or 0) < int(last) <= TESTS:
        return range(int(first or 0), int(last))
    raise argparse.ArgumentTypeError(f"{text!r} is neither N nor M:N, numbers up to {TESTS}")


def parse(argv: list[str]) -> argparse.Namespace:
    """The arguments of either command."""
    asked = argv[:1] == [CHOICES]
    parser = argparse.ArgumentParser(
        prog=f"python -m parity.nano {CHOICES}" if asked else "python -m parity.nano",
        description=choices.__doc__ if asked else __doc__,
    )
    parser.set_defaults(choices=asked)
    _add_common(parser)
    voices = VOICES if asked else (*VOICES, *BESIDE)
    parser.add_argument("--voices", nargs="+", choices=voices, default=list(voices), metavar="NAME")
    parser.add_argument(
        "--strings", type=parse_strings, default=range(TESTS), metavar="N or M:N", help="held-out ones (default: all)"
    )
    if asked:
        choices.add_arguments(parser)
    else:
        names = list(MEASURES)
        parser.add_argument(
            "--measures", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names)
        )
    return parser.parse_args(argv[1:] if asked else argv)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", type=Path, default=Path("assets/nano"), metavar="DIR", help="has the prompts")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="converted from it, in float32")
    parser.add_argument(
        "--work", type=Path, default=Path("build/nano"), metavar="DIR", help="for conversions (default: build/nano)"
    )
    parser.add_argument("--results", type=Path, metavar="FILE", help="to go on with (default: in the folder of --work)")
    parser.add_argument(
        "--speaker-encoder", type=Path, metavar="ONNX", help="the official campplus.onnx, which judges likeness"
    )
    parser.add_argument("--summary", action="store_true", help="measure nothing; print what was measured")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there, too")


if __name__ == "__main__":
    sys.exit(main())

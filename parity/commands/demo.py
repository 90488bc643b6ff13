"""`python -m parity demo`: convert a small checkpoint, compare, clone a voice, and speak; it needs no download."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from mlx_cosyvoice.model import SpeechModel
    from mlx_cosyvoice.voices import Voice

#: The trained checkpoint that comes with the project; and what it says: five digits that its training never saw, in a
#: voice that its training never heard.
NANO = Path(__file__).resolve().parents[2] / "assets/nano"
DIGITS, VOICE = "eight nine nine three nine", "awb-1.06.flac"
#: What other checkpoints say.
TEXT = "Hello from MLX."

SYNTHETIC = "synthetic"
#: Random weights never end a sentence; trained ones stop by themselves, long before the official limit of 20.
MAX_TOKEN_TEXT_RATIO = 6


class Plan(NamedTuple):
    """What is said, in the voice of which recording, and what is compared before (`parity.inputs`)."""

    text: str
    recording: Path
    inputs: dict[str, Any]


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("demo", help="convert a small checkpoint, compare, clone a voice, and speak")
    parser.add_argument("--out", type=Path, default=Path("build/demo"), metavar="DIR")
    parser.add_argument(
        "--checkpoint",
        dest="source",
        metavar="DIR",
        help=f"official checkpoint, or {SYNTHETIC}: random weights (default: the trained one in assets/nano)",
    )
    parser.add_argument("--audio", type=Path, metavar="WAV", help="a recording (default: one in the project)")
    parser.add_argument("--transcript", default="", help="what is said in the recording")
    parser.add_argument("--family", help=f"of the {SYNTHETIC} checkpoint: cosyvoice2 (the default) or cosyvoice3")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write `model/`, `parity.json`, `report.html`, `speech.wav` and `speech-streaming.wav`."""
    from converters.convert import convert
    from mlx_parity.report.data import write_json
    from mlx_parity.report.terminal import make_console, print_report
    from parity.heard import listen
    from parity.pair import load_pair
    from parity.report import data, html
    from parity.run import run as compare
    from parity.stages import Settings

    out, source, synthetic = arguments.out, *_source(arguments)
    text, recording, inputs = _plan(arguments, source)  # a bad recording is refused before anything is written
    console, model = make_console(), out / "model"
    if synthetic:
        console.print("building a tiny checkpoint in the official layout ...")
        synthetic(source)
    console.print(f"converting {source} to MLX ...")
    convert(source, model, force=True, progress=True)
    pair = load_pair(source, model)
    with console.status("") as status:
        report = compare(pair, inputs, progress=lambda stage: status.update(f"comparing: {stage}"))
        status.update("speaking")
        report.heard = listen(pair, inputs, Settings())
        voice = pair.model.clone(recording, inputs["transcript"])
        options = {"max_token_text_ratio": MAX_TOKEN_TEXT_RATIO} if synthetic else {}
        spoken = _speak(pair.model, text, voice, out, options)
    result = data.to_dict(report, checkpoint=str(source), model=str(model))
    write_json(result, out / "parity.json")
    html.write_html(report, result, out / "report.html")
    print_report(report, console, layers="failed")
    console.print(f"report:  {out / 'report.html'} (open it in a browser)\ndata:    {out / 'parity.json'}")
    for path, samples in spoken.items():
        rate, noise = pair.model.sample_rate, "; random weights, so it is noise" if synthetic else ""
        console.print(f"speech:  {path} ({len(samples) / rate:.1f} s{noise})")
        if heard := _heard(text, samples, rate):
            console.print(heard)
    return report.verdict.exit_code


def _source(arguments: argparse.Namespace) -> tuple[Path, Any]:
    """The checkpoint's folder, and what writes it there if it is to be made."""
    from converters.checkpoint import find_checkpoint
    from reference.synthetic.checkpoint import SYNTHETICS, write_checkpoint

    source, family = arguments.source, arguments.family
    if family not in (None, *SYNTHETICS):
        raise ValueError(f"--family {family}: there is no such family; there are: {', '.join(SYNTHETICS)}")
    if source == SYNTHETIC or (family and not source):
        made = partial(write_checkpoint, size="tiny", force=True, progress=True)
        return arguments.out / "checkpoint", partial(made, synthetic=SYNTHETICS[family or "cosyvoice2"])
    if family:
        raise ValueError(f"--family is of the {SYNTHETIC} checkpoint; {source} says itself of which one it is")
    if not source and not NANO.is_dir():
        raise FileNotFoundError(
            f"{NANO}: not there; it comes with a checkout of the project. Or: --checkpoint {SYNTHETIC}"
        )
    return find_checkpoint(source or NANO), None


def _plan(arguments: argparse.Namespace, source: Path) -> Plan:
    """With its own recording for the nano checkpoint, unless there is another one."""
    from parity.inputs import DEFAULT_TEXT, SAMPLE, load_inputs
    from reference.nano.export import PROMPTS, TRANSCRIPTS

    recording, transcript, nano = arguments.audio, arguments.transcript, source / PROMPTS / TRANSCRIPTS
    if not nano.is_file():
        return Plan(TEXT, recording or SAMPLE, load_inputs(recording, transcript, DEFAULT_TEXT))
    if not recording:
        recording, transcript = nano.parent / VOICE, json.loads(nano.read_text(encoding="utf-8"))[VOICE]
    return Plan(DIGITS, recording, load_inputs(recording, transcript, DIGITS))


def _speak(model: SpeechModel, text: str, voice: Voice, out: Path, options: dict[str, Any]) -> dict[Path, np.ndarray]:
    """The samples by the file that holds them: all at once, and as they are streamed."""
    import numpy as np

    from mlx_cosyvoice.audio import write_wav

    streamed = np.concatenate(list(model.stream(text, voice, **options)))
    spoken = {out / "speech.wav": model.synthesize(text, voice, **options), out / "speech-streaming.wav": streamed}
    for path, samples in spoken.items():
        write_wav(path, samples, model.sample_rate, force=True)
    return spoken


def _heard(text: str, samples: np.ndarray, rate: int) -> str:
    """What a recogniser hears, in a line; nothing where it does not know the words."""
    from parity.listening import heard_words, recogniser_of, said_words

    if not (words := said_words(text)):
        return ""
    try:
        return f"heard:   {' '.join(heard_words(recogniser_of(words), samples, rate)) or 'nothing'} (said: {text})"
    except ModuleNotFoundError as error:
        return f"heard:   by nobody: {error}"

"""`python -m parity demo`: build a tiny checkpoint, convert it, compare, and speak; it needs no download."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

TEXT = "Hello from MLX."

#: Random weights never end a sentence; real ones stop by themselves, long before the official limit of 20.
MAX_TOKEN_TEXT_RATIO = 6


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("demo", help="build a tiny checkpoint, convert it, compare, and speak")
    parser.add_argument("--out", type=Path, default=Path("build/demo"), metavar="DIR")
    parser.add_argument("--audio", type=Path, metavar="WAV", help="a recording (default: the sample in the project)")
    parser.add_argument("--family", default="cosyvoice2", help="of the model: cosyvoice2 (the default) or cosyvoice3")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write `checkpoint/`, `model/`, `parity.json`, `report.html` and `speech.wav`."""
    from converters.convert import convert
    from mlx_cosyvoice.audio import write_wav
    from mlx_parity.report.data import write_json
    from mlx_parity.report.terminal import make_console, print_report
    from parity.inputs import SAMPLE, load_inputs
    from parity.pair import load_pair
    from parity.report import data, html
    from parity.run import run as compare
    from reference.synthetic.checkpoint import SYNTHETICS, write_checkpoint

    family, recording, out = arguments.family, arguments.audio, arguments.out
    if family not in SYNTHETICS:
        raise ValueError(f"--family {family}: there is no such family; there are: {', '.join(SYNTHETICS)}")
    console, checkpoint, model = make_console(), out / "checkpoint", out / "model"
    inputs = load_inputs(recording)  # a bad recording is refused before anything is written
    console.print("building a tiny checkpoint in the official layout ...")
    write_checkpoint(checkpoint, size="tiny", force=True, progress=True, synthetic=SYNTHETICS[family])
    console.print("converting it to MLX ...")
    convert(checkpoint, model, force=True, progress=True)
    pair = load_pair(checkpoint, model)
    with console.status("") as status:
        report = compare(pair, inputs, progress=lambda stage: status.update(f"comparing: {stage}"))
        status.update("speaking")
        voice = pair.model.clone(recording or SAMPLE, inputs["transcript"])
        samples = pair.model.synthesize(TEXT, voice, max_token_text_ratio=MAX_TOKEN_TEXT_RATIO)
    write_wav(out / "speech.wav", samples, pair.model.sample_rate, force=True)
    result = data.to_dict(report, checkpoint=str(checkpoint), model=str(model))
    write_json(result, out / "parity.json")
    html.write_html(report, result, out / "report.html")
    print_report(report, console, layers="failed")
    console.print(f"report:  {out / 'report.html'} (open it in a browser)\ndata:    {out / 'parity.json'}")
    console.print(
        f"speech:  {out / 'speech.wav'} ({len(samples) / pair.model.sample_rate:.1f} s; the synthetic checkpoint has "
        "random weights, so it is noise: convert the real model to hear speech)",
        highlight=False,
    )
    return report.verdict.exit_code

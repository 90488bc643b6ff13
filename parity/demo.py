"""The whole job on a checkpoint that needs no download: build, convert, compare, speak."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from converters.convert import convert
from mlx_cosyvoice.audio import write_wav
from mlx_parity.compare import Verdict
from mlx_parity.report import terminal
from mlx_parity.report.data import write_json
from parity.inputs import SAMPLE, load_inputs
from parity.pair import load_pair
from parity.report import data, html
from parity.run import run
from reference.synthetic.checkpoint import SYNTHETICS, write_checkpoint

TEXT = "Hello from MLX."

#: Random weights never end a sentence; real ones stop by themselves, long before the official limit of 20.
MAX_TOKEN_TEXT_RATIO = 6


def demo(out: Path, recording: Path | None, console: Console, family: str = "cosyvoice2") -> Verdict:
    """Build a family's tiny synthetic checkpoint in `out`, convert it, compare all stages, and speak with it.

    Writes `checkpoint/`, `model/`, `parity.json`, `report.html` and `speech.wav` into `out`.
    """
    checkpoint, model = out / "checkpoint", out / "model"
    inputs = load_inputs(recording)  # a bad recording is refused before anything is written
    console.print("building a tiny checkpoint in the official layout ...")
    write_checkpoint(checkpoint, size="tiny", force=True, progress=True, synthetic=SYNTHETICS[family])
    console.print("converting it to MLX ...")
    convert(checkpoint, model, force=True, progress=True)
    pair = load_pair(checkpoint, model)
    with console.status("") as status:
        report = run(pair, inputs, progress=lambda stage: status.update(f"comparing: {stage}"))
        status.update("speaking")
        voice = pair.model.clone(recording or SAMPLE, inputs["transcript"])
        samples = pair.model.synthesize(TEXT, voice, max_token_text_ratio=MAX_TOKEN_TEXT_RATIO)
    write_wav(out / "speech.wav", samples, pair.model.sample_rate, force=True)
    result = data.to_dict(report, checkpoint=str(checkpoint), model=str(model))
    write_json(result, out / "parity.json")
    html.write_html(report, result, out / "report.html")
    terminal.print_report(report, console, layers="failed")
    console.print(f"report:  {out / 'report.html'} (open it in a browser)\ndata:    {out / 'parity.json'}")
    console.print(
        f"speech:  {out / 'speech.wav'} ({len(samples) / pair.model.sample_rate:.1f} s; the synthetic checkpoint has "
        "random weights, so it is noise: convert the real model to hear speech)",
        highlight=False,
    )
    return report.verdict

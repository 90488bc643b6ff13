"""The trained stages as one folder in the official layout, which everything else takes for a CosyVoice2 checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor

from reference.families import COSYVOICE2
from reference.folders.new_folder import new_folder
from reference.nano.stages import SEED, STAGES, Workplace
from reference.nano.text import write_text
from reference.nano.voices import PITCHES, VARIANTS
from reference.nano.words import written
from reference.synthetic.onnx_campplus import CAMPPlusWriter
from reference.synthetic.onnx_speech_tokenizer import SpeechTokenizerWriter
from reference.synthetic.text import BLANK_EN
from reference.synthetic.yaml import yaml_text

#: Says that a folder was written here, and what its training reported last.
MARKER = "nano.json"
#: Recordings of the held-out variants, to clone, and what is said in them.
PROMPTS, TRANSCRIPTS = "prompts", "transcripts.json"
#: What the `.pt` files hold their numbers in; the ONNX files, as the published ones, have float32.
DTYPE = torch.float16
#: What writes the graphs.
GRAPHS: dict[str, Callable[..., SpeechTokenizerWriter | CAMPPlusWriter]] = {
    "speech_tokenizer": SpeechTokenizerWriter,
    "campplus": CAMPPlusWriter,
}
#: Where networks are in what they were trained within.
WITHIN = {"speech_tokenizer": "tokenizer.", "campplus": "encoder.", "llm": "lm."}


def official(work: Workplace, name: str) -> dict[str, Tensor]:
    """The state dict of a trained component under its official keys.

    Raises:
        FileNotFoundError: it was not trained yet.
    """
    prefix = WITHIN.get(name, "")
    tensors = work.weights(name)
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def export(work: Workplace, out: Path, *, components: Iterable[str] | None = None, force: bool = False) -> Path:
    """Write the folder `out`, whole or not at all.

    Args:
        work: where the stages were trained.
        out: a folder that does not exist yet.
        components: those to write where not all are trained; None for all.
        force: replace `out` if it was written here.

    Raises:
        FileNotFoundError: a stage was not trained yet.
        FileExistsError: `out` exists (see `force`).
    """
    sizes, chosen = work.sizes, set(COSYVOICE2.networks if components is None else components)
    with new_folder(out, force=force, replaceable=lambda folder: (folder / MARKER).is_file()) as folder:
        _, text = yaml_text(sizes, SEED).split("\n", 1)
        (folder / COSYVOICE2.yaml).write_text(f"# A nano CosyVoice2, trained by `reference.nano`.\n{text}")
        write_text(folder / BLANK_EN, sizes["llm"]["qwen"])
        for name, network in COSYVOICE2.networks.items():
            path = folder / network.file
            if name not in chosen:
                continue
            if name in GRAPHS:
                GRAPHS[name](sizes[name], _arrays(official(work, name))).write(path)
            else:
                _save(path, network.prefix, official(work, name), network.tied)
        if "campplus" in chosen:
            torch.save(_speakers(work), folder / "spk2info.pt")
        _write_prompts(work, folder / PROMPTS)
        (folder / MARKER).write_text(json.dumps(_last_figures(work), indent=1) + "\n")
    return out


def _save(path: Path, prefix: str, tensors: Mapping[str, Tensor], tied: Mapping[str, str]) -> None:
    halves = {key: tensor.to(DTYPE) for key, tensor in tensors.items()}
    halves |= {key: halves[other] for key, other in tied.items()}
    torch.save({prefix + key: tensor for key, tensor in halves.items()}, path)


def _arrays(tensors: Mapping[str, Tensor]) -> Callable[[str], np.ndarray]:
    return lambda key: tensors[key].numpy()


def _speakers(work: Workplace) -> dict[str, dict[str, Tensor]]:
    """Of every voice, the mean embedding of its first variant."""
    found = {}
    for voice in PITCHES:
        variant = next(number for number, one in enumerate(VARIANTS) if one.voice == voice)
        rows = [index for index, one in enumerate(work.train.utterances) if one.variant == variant]
        found[voice] = {"embedding": work.embeddings["train"][rows].mean(0, keepdim=True)}
    return found


def _write_prompts(work: Workplace, folder: Path) -> None:
    """One recording of every held-out variant, the one that lasts longest, as "slt-1.06.flac"."""
    folder.mkdir()
    corpus, transcripts = work.held_out["held"], {}
    for number, variant in enumerate(VARIANTS):
        said = [utterance for utterance in corpus.utterances if utterance.variant == number]
        if said:
            longest = max(said, key=lambda utterance: utterance.tokens)
            name = f"{variant.voice}-{variant.warp}.flac"
            soundfile.write(folder / name, corpus.array("wave", longest).numpy(), 24000)
            transcripts[name] = written(longest.words)
    (folder / TRANSCRIPTS).write_text(json.dumps(transcripts, indent=1) + "\n")


def _last_figures(work: Workplace) -> dict[str, Any]:
    """Stage -> steps done, and each figure as reported last."""
    figures: dict[str, Any] = {"seed": SEED}
    for stage in STAGES:
        if work.checkpoint(stage).exists():
            state = torch.load(work.checkpoint(stage), weights_only=True, mmap=True)
            last = {name: round(points[-1][1], 5) for name, points in state["history"].items()}
            figures[stage] = {"steps": state["step"], **last}
    return figures

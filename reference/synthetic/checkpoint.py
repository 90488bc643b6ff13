"""Writes a synthetic checkpoint: a whole folder in the official layout, with weights from `reference.synthetic.recipe`.

    python -m reference.synthetic OUT [--family cosyvoice2|cosyvoice3] [--size tiny|full] [--seed N] [--force]

The weights are those behind the golden numbers. No table of keys is stored: names and shapes are those of the
reference networks, built without numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from reference.families import COSYVOICE2, COSYVOICE3, Family, Network
from reference.folders.failure import one_line
from reference.folders.new_folder import check_free, identity, new_folder
from reference.skeleton import skeleton
from reference.synthetic import recipe
from reference.synthetic.onnx_campplus import write_campplus
from reference.synthetic.onnx_speech_tokenizer import write_speech_tokenizer
from reference.synthetic.sizes import SIZES, SIZES3
from reference.synthetic.text import BLANK_EN, text_for, write_blank_en
from reference.synthetic.yaml import yaml_text

#: Says that a folder was written here, and how; no official checkpoint has it.
MARKER = "synthetic.json"

#: The SFT speakers, known by their embeddings alone.
SPEAKERS = ("synthetic", "second")

Advance = Callable[[int], Any]


@dataclass(frozen=True)
class Synthetic:
    """How checkpoints of a family are made up.

    Attributes:
        family: which one.
        sizes: name of a size -> what every `build` gets, by component.
        yaml: gives the text of the YAML for sizes and seed.
        onnx: component -> writes its file for a config and seed; the others are state dicts.
        speakers: names of those in `spk2info.pt`; none: there is no such file.
        files: name -> content of what else lies in the folder.
    """

    family: Family
    sizes: Mapping[str, Mapping[str, Any]]
    yaml: Callable[[Mapping[str, Any], int], str]
    onnx: Mapping[str, Callable[[Path, Mapping[str, Any], int], None]]
    speakers: tuple[str, ...] = SPEAKERS
    files: Mapping[str, str] = field(default_factory=dict)


COSYVOICE2_SYNTHETIC = Synthetic(
    COSYVOICE2, SIZES, yaml_text, {"campplus": write_campplus, "speech_tokenizer": write_speech_tokenizer}
)
COSYVOICE3_SYNTHETIC = Synthetic(
    COSYVOICE3,
    SIZES3,
    partial(yaml_text, name=COSYVOICE3.yaml),
    {"campplus": write_campplus, "speech_tokenizer": partial(write_speech_tokenizer, opset=16)},
    speakers=(),
    files={"config.json": "{}\n"},
)
#: By the `model_type` of converted models; the first is what is written where nobody says otherwise.
SYNTHETICS = {"cosyvoice2": COSYVOICE2_SYNTHETIC, "cosyvoice3": COSYVOICE3_SYNTHETIC}


def official_shapes(network: Network, config: Mapping[str, Any]) -> dict[str, Any]:
    """Official key -> shape of a reference network, in the order of its state dict."""
    return {key: tuple(tensor.shape) for key, tensor in skeleton(network.build, config).state_dict().items()}


def recipe_tensors(
    shapes: Mapping[str, Any], tied: Mapping[str, str], seed: int, advance: Advance = lambda count: None
) -> dict[str, Any]:
    """The recipe's values as torch tensors. Those that are `tied` to others share their memory."""
    tensors: dict[str, torch.Tensor] = {}
    for key, shape in shapes.items():
        if key in tied:
            tensors[key] = tensors[tied[key]]
        else:
            tensors[key] = torch.from_numpy(np.ascontiguousarray(recipe.parameter(key, shape, seed)))
        advance(4 * tensors[key].numel())
    return tensors


def is_synthetic(folder: Path) -> bool:
    return (folder / MARKER).is_file()


def write_checkpoint(
    out: str | Path,
    *,
    size: str = "tiny",
    seed: int = recipe.SEED,
    force: bool = False,
    progress: bool = False,
    synthetic: Synthetic = COSYVOICE2_SYNTHETIC,
) -> Path:
    """Write the folder `out`, whole or not at all. The same arguments give the same weights on any machine.

    Args:
        out: a folder that does not exist yet.
        size: one of `synthetic`: "tiny", for tests, or "full", as published.
        seed: of the recipe; the golden numbers belong to the default.
        force: replace `out` if it is a synthetic checkpoint.
        progress: show a bar on stderr when it takes longer than two seconds.
        synthetic: of which family, and how.

    Raises:
        ValueError: `size` is not known.
        FileExistsError: `out` exists (see `force`).
        OSError: the disk is full, or `out` cannot be written to.
    """
    if size not in synthetic.sizes:
        raise ValueError(f"size must be one of {', '.join(synthetic.sizes)}, not {size!r}")
    sizes, family, out = synthetic.sizes[size], synthetic.family, Path(out)
    check_free(out, force=force, replaceable=is_synthetic)
    networks = {name: network for name, network in family.networks.items() if name not in synthetic.onnx}
    shapes = {name: official_shapes(network, sizes[name]) for name, network in networks.items()}
    total = sum(4 * int(np.prod(shape)) for own in shapes.values() for shape in own.values())
    with (
        new_folder(out, force=force, replaceable=is_synthetic) as folder,
        tqdm(total=total, unit="B", unit_scale=True, desc="weights", delay=2, disable=not progress) as bar,
    ):
        (folder / MARKER).write_text(json.dumps({"size": size, "seed": seed}) + "\n")
        (folder / family.yaml).write_text(synthetic.yaml(sizes, seed))
        qwen: Mapping[str, Any] = sizes["llm"]["qwen"]
        text = text_for(qwen["vocab_size"])
        write_blank_en(folder / BLANK_EN, vocab_size=text, seed=seed, qwen_config=qwen, tokens=family.tokens)
        for name, content in synthetic.files.items():
            (folder / name).write_text(content)
        if synthetic.speakers:
            _save(folder / "spk2info.pt", {name: {"embedding": _embedding(name, seed)} for name in synthetic.speakers})
        for name, network in networks.items():
            tensors = recipe_tensors(shapes[name], network.tied, seed, bar.update)
            _save(folder / network.file, {network.prefix + key: tensor for key, tensor in tensors.items()})
        bar.set_description("ONNX files", refresh=False)
        for name, write in synthetic.onnx.items():
            write(folder / family.networks[name].file, sizes[name], seed)
    return out


def _embedding(speaker: str, seed: int) -> torch.Tensor:
    return torch.from_numpy(recipe.unit(f"spk2info/{speaker}", (1, 192), seed))


def _save(path: Path, content: dict[str, Any]) -> None:
    """`torch.save`, but what stopped it (a full disk, an interrupt) is what is raised.

    The archive writer complains about the unfinished archive instead, with the true reason as its context.
    """
    try:
        with path.open("wb") as file:
            torch.save(content, file)
    except RuntimeError as error:
        if error.__context__ is None:
            raise
        raise error.__context__ from None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m reference.synthetic", description=__doc__.split("\n")[0])
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder to write")
    parser.add_argument("--family", choices=list(SYNTHETICS), default="cosyvoice2", help="default cosyvoice2")
    parser.add_argument("--size", choices=sorted(SIZES), default="tiny", help="tiny (default) or full, 3 to 4 GB")
    parser.add_argument("--seed", type=int, default=recipe.SEED, help=f"default {recipe.SEED}")
    parser.add_argument("--force", action="store_true", help="replace OUT if it is a synthetic checkpoint")
    arguments = parser.parse_args(argv)
    before = identity(arguments.out)
    try:
        out = write_checkpoint(
            arguments.out,
            size=arguments.size,
            seed=arguments.seed,
            force=arguments.force,
            progress=True,
            synthetic=SYNTHETICS[arguments.family],
        )
    except (ValueError, OSError) as error:
        print(f"error: {one_line(error, arguments.out)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f"interrupted: {arguments.out} is {'as it was' if identity(arguments.out) == before else 'complete'}",
            file=sys.stderr,
        )
        return 130
    print(f"{out}: a {arguments.size} synthetic checkpoint of {arguments.family}, seed {arguments.seed}")
    return 0

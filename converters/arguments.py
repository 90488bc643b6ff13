"""The command line of `python -m converters`."""

from __future__ import annotations

import argparse
from pathlib import Path

from converters.families import OFFICIALS
from converters.write import FORMATS
from mlx_cosyvoice.families import component_names
from mlx_cosyvoice.quantize import BITS, GROUP_SIZES


def _names(text: str) -> list[str]:
    known = component_names()
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
    return names


def parser() -> argparse.ArgumentParser:
    official = next(iter(OFFICIALS.values())).hub
    titles = " or ".join(one.family.title for one in OFFICIALS.values())
    made = argparse.ArgumentParser(prog="python -m converters", description=f"Convert a {titles} checkpoint to MLX.")
    made.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        nargs="?",
        default=official,
        help=f"a local folder, a hub id (default {official}; only the needed files are downloaded), or `synthetic`, "
        "`synthetic:full`, `synthetic:cosyvoice3` or `synthetic:cosyvoice3:full` for random weights in the same layout",
    )
    made.add_argument("--out", metavar="DIR", type=Path, help="the model folder to write")
    made.add_argument("--force", action="store_true", help="replace DIR if it is a converted model")
    made.add_argument(
        "--components",
        metavar="NAMES",
        type=_names,
        help=f"some of {','.join(component_names())} (default all)",
    )
    made.add_argument(
        "--llm",
        metavar="FILE",
        help="another file for the language model's weights: llm.rl.pt, or a fine-tuned one (.pt or .safetensors)",
    )
    _add_precision(made.add_argument_group("precision"))
    _add_upload(made.add_argument_group("publishing"))
    return made


def _add_precision(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--dtype", choices=list(FORMATS), help="of the weights (default float32)")
    group.add_argument(
        "--keep-float32",
        metavar="NAMES",
        type=_names,
        help="components that stay float32 whatever --dtype says "
        f"(default {','.join(component_names(lambda one: one.float32))})",
    )
    group.add_argument(
        "--keep-float32-layers",
        metavar="PATH",
        nargs="+",
        default=[],
        help="layers that stay float32, with all below them, such as flow.encoder.embed",
    )
    group.add_argument(
        "--quantize",
        type=int,
        choices=BITS,
        help="pack Linear and Embedding layers into so many bits; the rest has --dtype",
    )
    group.add_argument(
        "--group-size", type=int, choices=GROUP_SIZES, help="how many weights share a scale (default 64)"
    )
    group.add_argument(
        "--quantize-components",
        metavar="NAMES",
        type=_names,
        default=["llm"],
        help=f"some of {','.join(component_names(lambda one: not one.not_quantized))} (default llm)",
    )
    group.add_argument(
        "--recipe",
        metavar="FILE",
        type=Path,
        help="dtype and layers to keep, as `python -m parity drift --recipe` writes",
    )


def _add_upload(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--upload", metavar="OWNER/NAME", help="publish the converted model on the Hugging Face hub (needs a token)"
    )
    group.add_argument(
        "--upload-only",
        metavar=("DIR", "OWNER/NAME"),
        nargs=2,
        help="publish a model folder that was converted before; converts nothing",
    )
    group.add_argument("--private", action="store_true", help="if the repository is made, only its owner can see it")
    group.add_argument("--revision", metavar="BRANCH", help="to publish on; made if it is missing (default main)")
    group.add_argument(
        "--parity",
        metavar="FILE",
        type=Path,
        help="what `python -m parity run --json` wrote of this model, for the model card (default DIR/parity.json)",
    )

"""python -m converters CHECKPOINT --out DIR: an official checkpoint, converted to MLX."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_cosyvoice.cli.interrupts import INTERRUPTED, Interrupts
from mlx_cosyvoice.families import FAMILIES
from reference.folders.failure import one_line
from reference.folders.new_folder import identity

if TYPE_CHECKING:
    from converters.convert import ConversionReport

#: Family and size of a checkpoint that is to be made up.
SYNTHETIC = re.compile(rf"synthetic(?::({'|'.join(FAMILIES)}))?(?::(tiny|full))?")


def _parser() -> argparse.ArgumentParser:
    from converters.arguments import parser

    return parser()


def _precision(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `convert` that say what is stored how: those of the recipe, and those of the command.

    Raises:
        ValueError: the two contradict each other.
    """
    chosen = {"dtype": arguments.dtype, "quantize": arguments.quantize, "group_size": arguments.group_size}
    kept = list(arguments.keep_float32_layers)
    if arguments.recipe is not None:
        from converters.recipe import read_recipe

        recipe = read_recipe(arguments.recipe)
        for name, own in chosen.items():
            other = getattr(recipe, name)
            if None not in (own, other) and own != other:
                raise ValueError(f"--{name.replace('_', '-')} is {own}, but {arguments.recipe} says {other}")
            chosen[name] = other if own is None else own
        kept += recipe.keep
    if chosen["quantize"] is None and chosen["group_size"] is not None:
        raise ValueError("--group-size needs --quantize")
    defaults = {"dtype": "float32", "group_size": 64}
    settings = {name: defaults.get(name) if value is None else value for name, value in chosen.items()}
    if settings["dtype"] == "float32" and settings["quantize"] is None and kept:
        raise ValueError("layers are to be kept in float32, but everything is: give --dtype or --quantize as well")
    return {**settings, "keep_float32_layers": kept}


def _convert(arguments: argparse.Namespace) -> None:
    from converters.checkpoint import find_checkpoint
    from converters.convert import convert, is_model_folder
    from reference.folders.new_folder import check_free
    from reference.synthetic.checkpoint import SYNTHETICS, write_checkpoint

    # before anything is downloaded or made
    check_free(arguments.out, force=arguments.force, replaceable=is_model_folder)
    precision = _precision(arguments)
    with tempfile.TemporaryDirectory(prefix="mlx-cosyvoice-") as temporary:
        made_up = SYNTHETIC.fullmatch(arguments.checkpoint)
        if made_up:
            synthetic, size = SYNTHETICS[made_up[1] or "cosyvoice2"], made_up[2] or "tiny"
            folder = write_checkpoint(Path(temporary) / "checkpoint", size=size, progress=True, synthetic=synthetic)
        else:
            folder = find_checkpoint(arguments.checkpoint, arguments.components, arguments.llm)
        report = convert(
            folder,
            arguments.out,
            components=arguments.components,
            keep_float32=arguments.keep_float32,
            quantize_components=arguments.quantize_components,
            force=arguments.force,
            source=arguments.checkpoint if made_up or not Path(arguments.checkpoint).is_dir() else None,
            llm=arguments.llm,
            progress=True,
            **precision,
        )
    _tell(report)


def _tell(report: ConversionReport) -> None:
    from converters.model_card import described_dtypes

    for warning in report.warnings:
        print(f"warning: {' '.join(warning.split())}", file=sys.stderr)
    print(f"{report.out}: {report.nbytes / 1e6:,.1f} MB of weights")
    for name, described in described_dtypes(report.record).items():
        audit = report.audits[name]
        unused = f", {len(audit.unused)} not needed" if audit.unused else ""
        print(f"  {name:16} {described}; {len(audit.used)} tensors used{unused}")


def _upload(arguments: argparse.Namespace, folder: Path, repo: str) -> None:
    from converters.upload import upload

    options = {name: getattr(arguments, name) for name in ("private", "revision", "parity")}
    url = upload(folder, repo, **options, progress=True)
    print(f"published: {url}")


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, 1 for a failure with one line on stderr, 2 for wrong usage, 130 for Ctrl-C."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.upload_only is None and arguments.out is None:
        parser.error("the following arguments are required: --out")
    if arguments.upload_only is not None and (arguments.out is not None or arguments.upload is not None):
        parser.error("--upload-only converts nothing: give neither --out nor --upload")
    options = arguments.private or arguments.revision or arguments.parity
    if options and arguments.upload is None and arguments.upload_only is None:
        parser.error("--private, --revision and --parity need --upload or --upload-only")
    out, repo = arguments.out, arguments.upload
    if arguments.upload_only is not None:
        out, repo = Path(arguments.upload_only[0]), arguments.upload_only[1]
    before = identity(out)
    with Interrupts():
        try:
            return _run(arguments, out, repo)
        except KeyboardInterrupt:
            # it may have come when the folder had its name already, and only the old one was still being removed
            complete = arguments.upload_only is not None or identity(out) != before
            published = "nothing or not all is published; " if repo is not None else ""
            kept = f"{published}{out} is complete" if complete else "the output folder is as it was"
            print(f"interrupted: {kept}", file=sys.stderr)
            return INTERRUPTED


def _run(arguments: argparse.Namespace, out: Path, repo: str | None) -> int:
    try:
        if repo is not None:
            from converters.upload import check_request

            check_request(repo, arguments.parity)  # before the minutes that a conversion takes
        if arguments.upload_only is None:
            _convert(arguments)
        if repo is not None:
            _upload(arguments, out, repo)
    except (ValueError, OSError) as error:
        print(f"error: {one_line(error, out)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

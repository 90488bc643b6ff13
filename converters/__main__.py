"""python -m converters CHECKPOINT --out DIR: an official CosyVoice2 checkpoint, converted to MLX."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlx_cosyvoice.cli.interrupts import INTERRUPTED, Interrupts
from reference.folders.failure import one_line
from reference.folders.new_folder import identity

if TYPE_CHECKING:
    from converters.convert import ConversionReport

SYNTHETIC = {"synthetic": "tiny", "synthetic:tiny": "tiny", "synthetic:full": "full"}


def _given() -> argparse.ArgumentParser:
    from converters.arguments import parser

    return parser()


def _precision(given: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `convert` that say what is stored how: those of the recipe, and those given beside it.

    Raises:
        ValueError: the two contradict each other.
    """
    chosen = {"dtype": given.dtype, "quantize": given.quantize, "group_size": given.group_size}
    kept = list(given.keep_float32_layers)
    if given.recipe is not None:
        from converters.recipe import read_recipe

        recipe = read_recipe(given.recipe)
        for name, own in chosen.items():
            told = getattr(recipe, name)
            if None not in (own, told) and own != told:
                raise ValueError(f"--{name.replace('_', '-')} is {own}, but {given.recipe} says {told}")
            chosen[name] = told if own is None else own
        kept += recipe.keep
    if chosen["quantize"] is None and chosen["group_size"] is not None:
        raise ValueError("--group-size needs --quantize")
    defaults = {"dtype": "float32", "group_size": 64}
    settings = {name: defaults.get(name) if value is None else value for name, value in chosen.items()}
    if settings["dtype"] == "float32" and settings["quantize"] is None and kept:
        raise ValueError("layers are to be kept in float32, but everything is: give --dtype or --quantize as well")
    return {**settings, "keep_float32_layers": kept}


def _convert(given: argparse.Namespace) -> None:
    from converters.checkpoint import find_checkpoint
    from converters.convert import convert, is_model_folder
    from reference.folders.new_folder import check_free
    from reference.synthetic.checkpoint import write_checkpoint

    check_free(given.out, force=given.force, replaceable=is_model_folder)  # before anything is downloaded or made
    precision = _precision(given)
    with tempfile.TemporaryDirectory(prefix="mlx-cosyvoice-") as temporary:
        size = SYNTHETIC.get(given.checkpoint)
        if size:
            folder = write_checkpoint(Path(temporary) / "checkpoint", size=size, progress=True)
        else:
            folder = find_checkpoint(given.checkpoint, given.components, given.llm)
        report = convert(
            folder,
            given.out,
            components=given.components,
            keep_float32=given.keep_float32,
            quantize_components=given.quantize_components,
            force=given.force,
            source=given.checkpoint if size or not Path(given.checkpoint).is_dir() else None,
            llm=given.llm,
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


def _upload(given: argparse.Namespace, folder: Path, repo: str) -> None:
    from converters.upload import upload

    url = upload(folder, repo, private=given.private, revision=given.revision, parity=given.parity, progress=True)
    print(f"published: {url}")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0, 1 for a failure told in one line on stderr, 2 for wrong usage, 130 for Ctrl-C."""
    parser = _given()
    given = parser.parse_args(arguments)
    if given.upload_only is None and given.out is None:
        parser.error("the following arguments are required: --out")
    if given.upload_only is not None and (given.out is not None or given.upload is not None):
        parser.error("--upload-only converts nothing: give neither --out nor --upload")
    if given.upload is None and given.upload_only is None and (given.private or given.revision or given.parity):
        parser.error("--private, --revision and --parity need --upload or --upload-only")
    out, repo = (Path(given.upload_only[0]), given.upload_only[1]) if given.upload_only else (given.out, given.upload)
    before = identity(out)
    with Interrupts():
        try:
            return _run(given, out, repo)
        except KeyboardInterrupt:
            # it may have come when the folder had its name already, and only the old one was still being removed
            complete = given.upload_only is not None or identity(out) != before
            published = "nothing or not all is published; " if repo is not None else ""
            kept = f"{published}{out} is complete" if complete else "the output folder is as it was"
            print(f"interrupted: {kept}", file=sys.stderr)
            return INTERRUPTED


def _run(given: argparse.Namespace, out: Path, repo: str | None) -> int:
    try:
        if repo is not None:
            from converters.upload import check_request

            check_request(repo, given.parity)  # before the minutes that a conversion takes
        if given.upload_only is None:
            _convert(given)
        if repo is not None:
            _upload(given, out, repo)
    except (ValueError, OSError) as error:
        print(f"error: {one_line(error, out)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""python -m converters CHECKPOINT --out DIR: an official CosyVoice2 checkpoint, converted to MLX."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from reference.failure import one_line

SYNTHETIC = {"synthetic": "tiny", "synthetic:tiny": "tiny", "synthetic:full": "full"}


def _names(text: str) -> list[str]:
    from mlx_cosyvoice.weights import COMPONENTS

    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in COMPONENTS:
            raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(COMPONENTS)}")
    return names


def _parser() -> argparse.ArgumentParser:
    from converters.checkpoint import OFFICIAL
    from converters.convert import KEEP_FLOAT32
    from converters.write import FORMATS
    from mlx_cosyvoice.weights import COMPONENTS

    parser = argparse.ArgumentParser(prog="python -m converters", description="Convert a CosyVoice2 checkpoint to MLX.")
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        nargs="?",
        default=OFFICIAL,
        help=f"a local folder, a hub id (default {OFFICIAL}; only the needed files are downloaded), or `synthetic` or "
        "`synthetic:full` for random weights in the same layout",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="the model folder to write")
    parser.add_argument("--dtype", choices=list(FORMATS), default="float32", help="of the weights (default float32)")
    parser.add_argument(
        "--components",
        metavar="NAMES",
        type=_names,
        default=list(COMPONENTS),
        help=f"some of {','.join(COMPONENTS)} (default all)",
    )
    parser.add_argument(
        "--keep-float32",
        metavar="NAMES",
        type=_names,
        default=list(KEEP_FLOAT32),
        help=f"components that stay float32 whatever --dtype says (default {','.join(KEEP_FLOAT32)})",
    )
    parser.add_argument("--force", action="store_true", help="replace DIR if it is a converted model")
    return parser


def _run(given: argparse.Namespace) -> None:
    from converters.checkpoint import find_checkpoint
    from converters.convert import convert, is_model_folder
    from reference.new_folder import check_free
    from reference.synthetic import write_checkpoint

    check_free(given.out, force=given.force, replaceable=is_model_folder)  # before anything is downloaded or made
    with tempfile.TemporaryDirectory(prefix="mlx-cosyvoice-") as temporary:
        size = SYNTHETIC.get(given.checkpoint)
        if size:
            folder = write_checkpoint(Path(temporary) / "checkpoint", size=size, progress=True)
        else:
            folder = find_checkpoint(given.checkpoint, given.components)
        report = convert(
            folder,
            given.out,
            dtype=given.dtype,
            components=given.components,
            keep_float32=given.keep_float32,
            force=given.force,
            source=given.checkpoint if size or not Path(given.checkpoint).is_dir() else None,
            progress=True,
        )
    print(f"{report.out}: {report.nbytes / 1e6:,.1f} MB of weights")
    for name, audit in report.audits.items():
        unused = f", {len(audit.unused)} not needed" if audit.unused else ""
        print(f"  {name:16} {report.dtypes[name]:8} {len(audit.used)} tensors used{unused}")


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0, 1 for a failure told in one line on stderr, 2 for wrong usage."""
    given = _parser().parse_args(arguments)
    try:
        _run(given)
    except (ValueError, OSError) as error:
        print(f"error: {one_line(error, given.out)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: the output folder is as it was", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that clean-up runs
    sys.exit(main())

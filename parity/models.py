"""Models to look at where the user names none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def ensure_model(
    size: str, build: Path, say: Callable[[str], None] = lambda message: None, *, family: str = "cosyvoice2"
) -> tuple[Path, Path]:
    """A synthetic checkpoint of the size and its conversion, made if they are not there yet.

    Args:
        size: "tiny" or "full". Random weights cost the same time as trained ones.
        build: the folder where they are made and kept, one for each family.
        say: called with what will last.
        family: its `model_type`.

    Returns:
        The checkpoint's folder and the MLX model's.
    """
    from converters.convert import convert
    from reference.synthetic.checkpoint import SYNTHETICS, write_checkpoint

    checkpoint, model = build / size, build / f"{size}-mlx"
    if not checkpoint.exists():
        say(f"making a synthetic {size} checkpoint in {checkpoint} ...")
        write_checkpoint(checkpoint, size=size, progress=True, synthetic=SYNTHETICS[family])
    if not model.exists():
        say(f"converting it to {model} ...")
        convert(checkpoint, model, progress=True)
    return checkpoint, model

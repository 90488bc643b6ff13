"""Gets a checkpoint from the Hugging Face hub, and knows other names that people give for one."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from pathlib import Path

from converters.errors import CheckpointError
from converters.families import OFFICIALS
from converters.layout import SPEAKERS, needed_files

#: An owner on ModelScope, under whom CosyVoice2 is published there.
_MODELSCOPE_OWNER = "iic"
_ADDRESS = re.compile(
    r"(?:https?:/{1,2})?(?:www\.)?(huggingface\.co|hf\.co|modelscope\.cn)/(?:models/)?([^/]+/[^/?#]+)"
)


def download(name: str, components: Iterable[str] | None = None, llm: str | None = None) -> Path:
    """The folder of a checkpoint on the hub, downloaded as far as it is needed; a download broken off is resumed.

    Args:
        name: a hub id ("owner/name").
        components: what will be converted; None for all.
        llm: another file for the language model's weights, if it is to come from the same repository.

    Raises:
        CheckpointError: the name is none of the hub, or the hub cannot be reached or does not have it.
    """
    _check_name(name)
    from huggingface_hub import snapshot_download

    needed = {file: others for one in OFFICIALS.values() for file, others in needed_files(one, components).items()}
    files = [*needed, SPEAKERS, *([llm] if llm else [])]
    try:
        folder = Path(snapshot_download(name, allow_patterns=files))
        others = [other for file, rest in needed.items() if not (folder / file).exists() for other in rest]
        return Path(snapshot_download(name, allow_patterns=others)) if others else folder
    except Exception as error:  # the client raises its own, the HTTP library's and the system's errors
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        lines = str(error).strip().splitlines()
        raise CheckpointError(
            f"{name}: no such folder here, and the Hugging Face hub did not give it "
            f"({lines[0] if lines else type(error).__name__}). {_what_to_do(name)}"
        ) from error


def _what_to_do(name: str) -> str:
    if name.split("/")[0] == _MODELSCOPE_OWNER:
        return f"It is an id of ModelScope: {_modelscope(name)}"
    return "Give a local checkpoint folder, or try the converter without a download: CHECKPOINT=synthetic"


def _modelscope(name: str) -> str:
    """How to get it from there."""
    folder = name.split("/")[1]
    return (
        f"pip install modelscope && modelscope download --model {name} --local_dir {folder}, "
        f"then give the folder {folder}"
    )


def _check_name(name: str) -> None:
    if Path(name).expanduser().exists():
        raise CheckpointError(f"{name}: is a file; give the folder of a checkpoint")
    address = _ADDRESS.match(name)
    if address and address[1] == "modelscope.cn":
        raise CheckpointError(f"{name}: is an address of ModelScope: {_modelscope(address[2])}")
    if address:
        raise CheckpointError(f"{name}: is an address; give the hub id, {address[2]}")
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise CheckpointError(f"{name}: no such folder (and a hub id has the form owner/name)")

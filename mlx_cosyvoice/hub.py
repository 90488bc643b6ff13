"""Finding a converted model: a local folder, or a repository on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from mlx_cosyvoice.quoting import plain
from mlx_cosyvoice.weights import CONFIG, ModelFolderError, read_config

#: What a converted model consists of; nothing else of a repository is downloaded.
FILES = (CONFIG, "*.safetensors", "model.safetensors.index.json", "tokenizer.json", "conversion.json")


class ModelNotFoundError(FileNotFoundError):
    """Neither a folder nor a repository that can be reached."""


def find_model(path_or_repo: str | Path) -> Path:
    """The local folder of a converted model, downloaded first if it is a hub id ("owner/name").

    Raises:
        ModelNotFoundError: no such folder, and not a repository that can be reached.
        ModelFolderError: the repository holds something else; nothing large was downloaded.
    """
    name = plain(str(path_or_repo))
    try:
        folder = Path(path_or_repo).expanduser()
    except RuntimeError as error:  # no such user
        raise ModelNotFoundError(f"{name}: no such folder ({error})") from error
    if folder.is_dir():
        return folder
    if folder.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        what = "is a file; give the model's folder" if folder.is_file() else "no such folder"
        raise ModelNotFoundError(f"{name}: {what} (and a hub id has the form owner/name)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        _check(name)
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = plain(lines[0])
        raise ModelNotFoundError(
            f"{name}: no such folder, and the Hugging Face hub did not give a model of that name ({reason}). "
            "Give a local folder, or convert one with: python -m converters CHECKPOINT --out DIR"
        ) from error


def _check(name: str) -> None:
    """Refuse a repository of another kind before gigabytes of it are downloaded."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        read_config(Path(hf_hub_download(name, CONFIG)).parent)
    except ModelFolderError as error:
        raise ModelFolderError(f"{name}: {error}") from error
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError):  # the hub cannot be reached
            raise
        raise ModelFolderError(
            f"{name}: the repository has no {CONFIG}, so it is not a converted model. If it is an official checkpoint, "
            f"convert it: python -m converters {name} --out DIR"
        ) from error

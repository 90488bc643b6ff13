"""Publishes a model folder as a repository on the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.json_file import read_json_object
from converters.model_card import CARD, with_parity
from mlx_cosyvoice.config import FORMAT_VERSION
from mlx_cosyvoice.files import write_file
from mlx_cosyvoice.weights import ModelFolderError, read_config, weight_files

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PARITY = "parity.json"
RECORD = "conversion.json"
MAIN = "main"
#: Bytes of what `parity run --json` wrote; a whole run has 1 MB.
MAX_PARITY = 32 << 20

#: What is published of a folder; anything else that lies there stays private.
FILES = (
    *("config.json", "*.safetensors", "model.safetensors.index.json", "tokenizer.json"),
    *(RECORD, CARD, PARITY),
)

TOKEN_HELP = (
    "make a token with write access at https://huggingface.co/settings/tokens, then: hf auth login (or set HF_TOKEN)"
)


class UploadError(ValueError):
    """A model that could not be published. The message says why and what to do; the folder is as it was."""


def check_request(repo: str, parity: Path | None = None) -> None:
    """What can be known before a conversion: the name, the token, and whether the parity file can be read.

    Raises:
        UploadError: one of them is wrong.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    problem = f"--upload {repo}: must have the form OWNER/NAME, of letters, digits, '-', '_' and '.'"
    if repo.count("/") != 1 or not re.fullmatch(r"[^/]+/[^/]+", repo):
        raise UploadError(problem)
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UploadError(f"{problem} ({error})") from error
    if not get_token():
        raise UploadError(f"--upload {repo}: there is no token of the Hugging Face hub; {TOKEN_HELP}")
    if parity is not None:
        _read_parity(parity)


def _read_parity(path: Path) -> dict[str, Any]:
    try:
        result = read_json_object(path, max_bytes=MAX_PARITY)
    except (OSError, ValueError) as error:
        raise UploadError(
            f"{path}: cannot be read ({error}); python -m parity run --json writes such a file"
        ) from error
    if not {"verdict", "stages", "settings"} <= result.keys():
        raise UploadError(f"{path}: is not what python -m parity run --json writes")
    return result


def model_sha256(folder: Path) -> str:
    """Identifies a model: the sum of its `conversion.json`, which names all sources and settings."""
    return hashlib.sha256((folder / RECORD).read_bytes()).hexdigest()


def _prepare(folder: Path, parity: Path | None) -> None:
    """Check that the folder is a whole model, and write what parity found into its card.

    Raises:
        UploadError, ModelFolderError: it is not, or the parity file is of another model.
    """
    _, meta = read_config(folder)
    weight_files(folder)
    if not (folder / RECORD).is_file():
        raise ModelFolderError(f"{folder / RECORD}: no such file: only folders that were converted can be published")
    if meta["format_version"] != FORMAT_VERSION:
        raise ModelFolderError(f"{folder}: has an old format; convert the checkpoint again")
    source = parity if parity is not None else folder / PARITY
    result = _read_parity(source) if source.is_file() else None
    if result is not None and result.get("model_sha256") != model_sha256(folder):
        raise UploadError(f"{source}: is of another model than {folder}; run python -m parity run --json for this one")
    if result is not None and source.resolve() != (folder / PARITY).resolve():
        write_file(folder / PARITY, source.read_bytes(), force=True)
    card = folder / CARD
    if card.is_file():
        write_file(card, with_parity(card.read_text(encoding="utf-8"), result).encode(), force=True)


def upload(
    folder: str | Path,
    repo: str,
    *,
    private: bool = False,
    revision: str | None = None,
    parity: Path | None = None,
    endpoint: str | None = None,
    progress: bool = False,
) -> str:
    """Publish a converted model: make the repository if there is none, and upload what changed in one commit.

    Args:
        folder: a model folder.
        repo: "owner/name".
        private: of a new repository; an existing one stays what it is.
        revision: branch; made if it is missing.
        parity: what `python -m parity run --json` wrote of this model; default: `parity.json` in the folder, if it
            is there. It is published too.
        endpoint: of the hub; default: HF_ENDPOINT, else the public one.
        progress: show bars.

    Returns:
        The address of the repository.

    Raises:
        UploadError: no token, a name that is not possible, no permission, no network; with what to do about it.
        ModelFolderError: the folder is not a whole converted model.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    folder = Path(folder)
    check_request(repo, parity)
    _prepare(folder, parity)
    silent = are_progress_bars_disabled()
    if not progress:
        disable_progress_bars()
    try:
        return _publish(HfApi(endpoint=endpoint), folder, repo, private, revision or MAIN)
    except Exception as error:  # the client raises its own, the HTTP library's and the system's errors
        raise UploadError(f"{_reason(error, repo)}. The converted model is kept: {folder}") from error
    finally:
        if not progress and not silent:
            enable_progress_bars()


def _publish(api: HfApi, folder: Path, repo: str, private: bool, revision: str) -> str:
    url = api.create_repo(repo, private=private, exist_ok=True)
    if revision != MAIN:
        api.create_branch(repo, branch=revision, exist_ok=True)
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    api.upload_folder(
        repo_id=repo,
        folder_path=folder,
        revision=revision,
        allow_patterns=list(FILES),
        # weights of an earlier upload that this one does not have, such as shards of another number
        delete_patterns=["*.safetensors", "model.safetensors.index.json", PARITY],
        commit_message=f"Convert {record['source']} with mlx-cosyvoice {record['versions']['mlx_cosyvoice']}",
    )
    return str(url) if revision == MAIN else f"{url}/tree/{revision}"


def _reason(error: Exception, repo: str) -> str:
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

    message = getattr(error, "server_message", None) or str(error)
    lines = message.strip().splitlines()
    detail = lines[0].rstrip(".") if lines else type(error).__name__
    if isinstance(error, OfflineModeIsEnabled):
        return f"{repo}: HF_HUB_OFFLINE is set; unset it to publish"
    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
    if status == 401:
        return f"{repo}: the hub does not accept the token; {TOKEN_HELP}"
    if status == 403:
        owner = repo.split("/")[0]
        return (
            f"{repo}: the token must not write there ({detail}). Use a token with write access of {owner!r} "
            "(https://huggingface.co/settings/tokens), or another OWNER"
        )
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return f"{repo}: the hub does not find it, or the token must not see it ({detail}). Check OWNER/NAME"
    if status is not None:
        return f"{repo}: the hub answered {status} ({detail}). Try again with --upload-only"
    return f"{repo}: the hub cannot be reached ({detail}). Check the network, then try again with --upload-only"

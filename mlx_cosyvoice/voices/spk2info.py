"""The speakers of a model: the official `spk2info.pt`, and the `spk2info.safetensors` of a model folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mlx_cosyvoice.quoting import plain, quoted
from mlx_cosyvoice.voices.errors import VoiceError
from mlx_cosyvoice.voices.pt_file import read_pt
from mlx_cosyvoice.voices.tensor_file import MAX_TENSOR, read_json, read_tensors, write_tensors
from mlx_cosyvoice.voices.voice import TENSORS, Voice

#: Name and version of the safetensors format. A file of a higher version is refused.
FORMAT = "mlx-cosyvoice speakers"
VERSION = 1

#: Keys of the official entries. `add_zero_shot_spk` writes all but the last, SFT speakers have the last alone.
_LLM_TOKEN, _FLOW_TOKEN = "llm_prompt_speech_token", "flow_prompt_speech_token"
_EMBEDDINGS = ("flow_embedding", "llm_embedding", "embedding")


def read_spk2info(path: str | os.PathLike[str]) -> dict[str, Voice]:
    """The speakers of an official `spk2info.pt`, by name, in the order of the file; torch is not needed.

    An SFT speaker has an embedding only. A speaker saved by `add_zero_shot_spk` and `save_spkinfo` has the recording's
    speech tokens and mel too, and the ids of its transcript. Other keys of an entry are left aside.

    Raises:
        FileNotFoundError: no such file.
        VoiceError: not such a file (see `read_pt`), or a speaker who is not a voice of these models; named.
    """
    path = Path(path)
    content = read_pt(path)
    if not isinstance(content, Mapping):
        raise VoiceError(f"{path}: must hold a dict of speakers, not {type(content).__name__}")
    return {name: _from_entry(path, name, entry) for name, entry in content.items()}


def _from_entry(path: Path, name: Any, entry: Any) -> Voice:
    if not isinstance(name, str):
        raise VoiceError(f"{path}: names of speakers must be text, not {quoted(name, 60)}")
    if not isinstance(entry, Mapping):
        raise VoiceError(f"{path}: speaker {quoted(name)} must be a dict, not {type(entry).__name__}")
    embeddings = [entry[key] for key in _EMBEDDINGS if key in entry]
    if not embeddings:
        keys = ", ".join(plain(str(key), 40) for key in islice(entry, 6)) or "nothing"
        raise VoiceError(f"{path}: speaker {quoted(name)} has no embedding, but {keys}")
    provenance = {"source": path.name, "speaker": name}
    try:
        embedding = _array("embedding", embeddings[0])
        if _FLOW_TOKEN not in entry:
            return embedding_voice(embedding, provenance)
        token = _array(_FLOW_TOKEN, entry[_FLOW_TOKEN])
        if _LLM_TOKEN in entry and not np.array_equal(_array(_LLM_TOKEN, entry[_LLM_TOKEN]), token):
            raise VoiceError(f"{_LLM_TOKEN} differs from {_FLOW_TOKEN}: not a voice of CosyVoice2 or 3")
        ids = _array("prompt_text", entry.get("prompt_text", [])).reshape(-1).tolist()
        return Voice(
            prompt_token=token,
            prompt_feat=_array("prompt_feat", entry.get("prompt_speech_feat", [])),
            embedding=embedding,
            prompt_text=tuple(ids) or None,
            provenance=provenance,
        )
    except VoiceError as error:
        raise VoiceError(f"{path}: speaker {quoted(name)}: {error}") from error


def _array(name: str, value: Any) -> np.ndarray:
    """A tensor, a list of numbers or a list of such lists, as an array.

    Raises:
        VoiceError: another list, one of lists of unequal lengths, or more numbers than a voice has.
    """
    if isinstance(value, np.ndarray):
        if value.nbytes > MAX_TENSOR:
            raise VoiceError(f"{name}: a tensor of shape {quoted(list(value.shape))} is too large for a voice")
        return value
    if not isinstance(value, (list, tuple)):
        return np.asarray(quoted(value))  # whose dtype is refused later
    # A list may hold itself, or one list a thousand times, so it is counted first and not followed further down.
    rows = [row for row in value if isinstance(row, (list, tuple))]
    if sum(map(len, rows or [value])) > MAX_TENSOR // 8:
        raise VoiceError(f"{name}: lists with too many numbers for a voice")
    if rows and (len(rows) < len(value) or len({len(row) for row in rows}) > 1):
        raise VoiceError(f"{name}: must be a tensor, not lists of unequal lengths")
    if not all(type(number) in (int, float) and abs(number) < 2**63 for row in rows or [value] for number in row):
        raise VoiceError(f"{name}: must be a tensor, or a list of numbers of 64 bits")
    return np.asarray(value)


def embedding_voice(embedding: np.ndarray, provenance: Mapping[str, str]) -> Voice:
    """A voice without a recording, from an embedding of shape [192] or [1, 192]."""
    return Voice(
        prompt_token=np.zeros((1, 0), np.int32),
        prompt_feat=np.zeros((1, 0, 80), np.float32),
        embedding=embedding.reshape(1, -1) if embedding.ndim == 1 else embedding,
        provenance=provenance,
    )


def write_spk2info_safetensors(
    path: str | os.PathLike[str], voices: Mapping[str, Voice], *, force: bool = False
) -> None:
    """Write speakers as one safetensors file with the keys `NAME/embedding` and, for those that have a recording,
    `NAME/prompt_token` and `NAME/prompt_feat`. In NAME "/" stands as "%2F" and "%" as "%25".

    Raises:
        FileExistsError: `path` exists and `force` is not given.
        OSError: the file cannot be written; nothing is left behind.
    """
    tensors = {
        f"{_escape(name)}/{key}": getattr(voice, key)
        for name, voice in voices.items()
        for key in TENSORS
        if getattr(voice, key).size
    }
    # Tensors are sorted in the file; this keeps the speakers' order.
    texts = {
        name: {
            "transcript": voice.transcript,
            "prompt_text": voice.prompt_text,
            "provenance": dict(voice.provenance),
            "families": voice.families,
        }
        for name, voice in voices.items()
    }
    metadata = {"voices": json.dumps(texts, ensure_ascii=False)}
    write_tensors(Path(path), tensors, metadata, kind=FORMAT, version=VERSION, force=force)


def read_spk2info_safetensors(path: str | os.PathLike[str]) -> dict[str, Voice]:
    """Read what `write_spk2info_safetensors` has written.

    Raises:
        FileNotFoundError: no such file.
        VoiceError: not such a file, cut off, damaged, or of a newer version; file and key are named.
    """
    path = Path(path)
    tensors, metadata = read_tensors(path, kind=FORMAT, version=VERSION)
    voices = {}
    for name, texts in read_json(path, metadata, "voices", {}).items():
        own = {key: tensors.pop(f"{_escape(name)}/{key}", None) for key in TENSORS}
        try:
            if not isinstance(texts, dict):
                raise VoiceError(f"metadata voices must hold objects, not {quoted(texts, 60)}")
            ids = texts.get("prompt_text")
            if own["embedding"] is None:
                raise VoiceError("embedding: no such tensor")
            if own["prompt_token"] is None and own["prompt_feat"] is None:
                none = embedding_voice(own["embedding"], {})
                own["prompt_token"], own["prompt_feat"] = none.prompt_token, none.prompt_feat
            voices[name] = Voice(
                **own,  # type: ignore[arg-type]  # Voice refuses a lone None
                transcript=texts.get("transcript", ""),
                prompt_text=None if ids is None else ids,
                provenance=texts.get("provenance", {}),
                families=texts.get("families", ()),
            )
        except VoiceError as error:
            raise VoiceError(f"{path}: speaker {quoted(name)}: {error}") from error
    if tensors:
        raise VoiceError(f"{path}: tensors that belong to no speaker: {plain(', '.join(sorted(tensors)))}")
    return voices


def _escape(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F")

"""A voice: what of a prompt recording the model continues."""

from __future__ import annotations

import hashlib
import json
import operator
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mlx_cosyvoice.config import FlowConfig
from mlx_cosyvoice.quoting import plain, quoted
from mlx_cosyvoice.voices.errors import VoiceError
from mlx_cosyvoice.voices.tensor_file import read_json, read_tensors, write_tensors

#: Name and version of the file format. A file of a higher version is refused.
FORMAT = "mlx-cosyvoice voice"
VERSION = 1

TENSORS = ("prompt_token", "prompt_feat", "embedding")

#: What all CosyVoice2 models share.
_SIZES = FlowConfig()

#: Of a recording of 30 s, the longest that the speech tokenizer accepts.
MAX_TOKENS = 30 * _SIZES.input_frame_rate
#: Characters of the transcript, and token ids. In 30 s nobody says a tenth of that.
MAX_TRANSCRIPT = 10_000
#: Entries of `provenance`, and the characters of each.
MAX_PROVENANCE, MAX_NOTE = 100, 10_000
#: Entries of `families`, and the characters of each.
MAX_FAMILIES, MAX_FAMILY = 20, 100

#: Whose voices those are that have a recording and were saved before files said so.
_BEFORE = ["cosyvoice2"]


@dataclass(frozen=True, eq=False)
class Voice:
    """What `CosyVoice2.clone` computes from a recording; independent of the text to speak.

    The arrays are checked and copied when a voice is made, and cannot be written to.

    Attributes:
        prompt_token: speech tokens of the recording, int32 [1, tokens] in 0..6560, 25 a second, of 30 s at most. No
            tokens: a speaker who is known by an embedding alone.
        prompt_feat: its mel, float32 [1, 2 * tokens, 80], 50 frames a second.
        embedding: speaker embedding, float32 [1, 192].
        transcript: what is said in the recording; "" where it is not known, so that mode zero_shot is impossible.
        prompt_text: token ids of the transcript, where only those are known (official `spk2info.pt`).
        provenance: where the voice is from, such as the recording's file name and SHA-256.
        families: the `model_type` of the models whose speech tokens and mel those of the recording are; none where that
            is not known. The embedding is the same for all.

    Raises:
        VoiceError: an array has a wrong shape or type, or values that are out of range or not finite; named.
    """

    prompt_token: np.ndarray = field(repr=False)
    prompt_feat: np.ndarray = field(repr=False)
    embedding: np.ndarray = field(repr=False)
    transcript: str = ""
    prompt_text: tuple[int, ...] | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    families: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        token = _array("prompt_token", self.prompt_token, np.integer, (1, None))
        if token.size > MAX_TOKENS:
            raise VoiceError(f"prompt_token: {token.size} tokens, but a recording of 30 s has {MAX_TOKENS}")
        if token.size and not 0 <= token.min() <= token.max() < _SIZES.vocab_size:
            raise VoiceError(
                f"prompt_token: values must lie in 0..{_SIZES.vocab_size - 1}, not in {token.min()}..{token.max()}"
            )
        ratio = _SIZES.token_mel_ratio
        feat = _array("prompt_feat", self.prompt_feat, np.floating, (1, None, _SIZES.output_size))
        if feat.shape[1] != ratio * token.shape[1]:
            raise VoiceError(
                f"prompt_feat: must have {ratio} frames a token, so {ratio * token.shape[1]} for {token.shape[1]} "
                f"tokens, not {feat.shape[1]}"
            )
        embedding = _array("embedding", self.embedding, np.floating, (1, _SIZES.spk_embed_dim))
        values = {
            "prompt_token": _frozen("prompt_token", token, np.int32),
            "prompt_feat": _frozen("prompt_feat", feat, np.float32),
            "embedding": _frozen("embedding", embedding, np.float32),
            "transcript": _text("transcript", self.transcript, MAX_TRANSCRIPT),
            "prompt_text": None if self.prompt_text is None else _ids(self.prompt_text),
            "provenance": _string_map(self.provenance),
            "families": _families(self.families),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def seconds(self) -> float:
        """Duration of the part of the recording that is used."""
        return self.prompt_token.shape[1] / _SIZES.input_frame_rate

    def fits(self, family: str) -> bool:
        """Whether models of that `model_type` can continue the recording, as far as is known."""
        return not self.prompt_token.size or not self.families or family in self.families

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 over everything that is heard in speech: not over `provenance` or `families`. A key of caches."""
        digest = hashlib.sha256(b"mlx-cosyvoice voice 1\n")
        for name in TENSORS:
            array = getattr(self, name)
            digest.update(f"{name} {list(array.shape)}\n".encode())
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        digest.update(json.dumps([self.transcript, self.prompt_text]).encode())
        return digest.hexdigest()

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the voice as one safetensors file, whole or not at all.

        Raises:
            FileExistsError: `path` exists and `force` is not given.
            OSError: the file cannot be written; nothing is left behind.
        """
        tensors = {name: getattr(self, name) for name in TENSORS}
        write_tensors(Path(path), tensors, to_metadata(self), kind=FORMAT, version=VERSION, force=force)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Voice:
        """Read what `save` has written.

        Raises:
            FileNotFoundError: no such file.
            VoiceError: not a voice, cut off, damaged, or of a newer version; file and key are named.
        """
        path = Path(path)
        tensors, metadata = read_tensors(path, kind=FORMAT, version=VERSION)
        for name in TENSORS:
            if name not in tensors:
                raise VoiceError(f"{path}: lacks {name}, so this is not a whole voice")
        more = sorted(tensors.keys() - set(TENSORS))
        if more:
            raise VoiceError(f"{path}: has tensors that are no part of a voice: {plain(', '.join(more))}")
        ids = read_json(path, metadata, "prompt_text", [])
        try:
            return cls(
                tensors["prompt_token"],
                tensors["prompt_feat"],
                tensors["embedding"],
                transcript=metadata.get("transcript", ""),
                prompt_text=tuple(ids) if "prompt_text" in metadata else None,
                provenance=read_json(path, metadata, "provenance", {}),
                families=read_json(path, metadata, "families", _BEFORE if tensors["prompt_token"].size else []),
            )
        except VoiceError as error:
            raise VoiceError(f"{path}: {error}") from error


def to_metadata(voice: Voice) -> dict[str, str]:
    """All but the arrays, as strings."""
    metadata = {
        "transcript": voice.transcript,
        "provenance": json.dumps(dict(voice.provenance), ensure_ascii=False),
        "families": json.dumps(voice.families),
    }
    if voice.prompt_text is not None:
        metadata["prompt_text"] = json.dumps(voice.prompt_text)
    return metadata


def _array(name: str, value: Any, kind: type, shape: tuple[int | None, ...]) -> np.ndarray:
    """`value` as an array, once its type and shape are right; None is any length."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise VoiceError(f"{name}: is not an array ({error})") from error
    if not np.issubdtype(array.dtype, kind):
        raise VoiceError(f"{name}: must hold {kind.__name__} numbers, not {array.dtype}")
    if array.ndim != len(shape) or any(want not in (None, has) for want, has in zip(shape, array.shape, strict=True)):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise VoiceError(f"{name}: must have the shape [{wanted}], not {quoted(list(array.shape))}")
    return array


def _frozen(name: str, array: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    """A copy of that dtype, once its values are known to be finite in it."""
    with np.errstate(over="ignore"):
        copy = np.array(array, dtype, order="C")
    bad = copy.size - int(np.isfinite(copy).sum())
    if bad:
        raise VoiceError(f"{name}: {bad} of {copy.size} values are NaN or infinite")
    copy.setflags(write=False)
    return copy


def _text(name: str, value: Any, most: int) -> str:
    if not isinstance(value, str):
        raise VoiceError(f"{name}: must be text, not {type(value).__name__}")
    if len(value) > most:
        raise VoiceError(f"{name}: has {len(value)} characters, at most {most} are read")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise VoiceError(f"{name}: is not valid Unicode ({error.reason} at position {error.start})") from error
    return value


def _ids(value: Any) -> tuple[int, ...]:
    try:
        count = len(value)
        ids = tuple(map(_index, value)) if count <= MAX_TRANSCRIPT else ()
    except TypeError as error:
        raise VoiceError(f"prompt_text: must be token ids ({error})") from error
    if count > MAX_TRANSCRIPT:
        raise VoiceError(f"prompt_text: has {count} token ids, at most {MAX_TRANSCRIPT} are read")
    if not ids:
        raise VoiceError("prompt_text: is empty; give None where the transcript is not known")
    if not 0 <= min(ids) <= max(ids) < 2**31:
        raise VoiceError(f"prompt_text: token ids must lie in 0..2^31-1, not in {quoted(min(ids))}..{quoted(max(ids))}")
    return ids


def _families(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (tuple, list)):
        raise VoiceError(f"families: must be names of model types, not {type(value).__name__}")
    if len(value) > MAX_FAMILIES:
        raise VoiceError(f"families: has {len(value)} entries, at most {MAX_FAMILIES} are read")
    return tuple(_text("families", name, MAX_FAMILY) for name in value)


def _index(number: Any) -> int:
    if isinstance(number, bool):
        raise TypeError("true and false are none")
    return operator.index(number)


def _string_map(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise VoiceError(f"provenance: must map names to text, not be {type(value).__name__}")
    if len(value) > MAX_PROVENANCE:
        raise VoiceError(f"provenance: has {len(value)} entries, at most {MAX_PROVENANCE} are read")
    return {
        _text("provenance", key, MAX_NOTE): _text(f"provenance {plain(str(key), 40)}", entry, MAX_NOTE)
        for key, entry in value.items()
    }

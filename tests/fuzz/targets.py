"""The readers, each with a small valid file to begin with."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from converters.families.cosyvoice2 import COSYVOICE2_OFFICIAL
from converters.onnx_campplus import read_campplus
from converters.onnx_speech_tokenizer import read_speech_tokenizer
from converters.pt_archive import load
from converters.qwen import read_qwen_config
from converters.recipe import read_recipe
from converters.yaml_config import model_config
from converters.yaml_reader import read_yaml
from mlx_cosyvoice.config import CosyVoice2Config, SpeakerEncoderConfig, SpeechTokenizerConfig
from mlx_cosyvoice.strict import read_header
from mlx_cosyvoice.text import TextTokenizer, build_tokenizer
from mlx_cosyvoice.voices import Voice, read_spk2info
from mlx_cosyvoice.weights import read_config
from reference.synthetic.onnx_campplus import write_campplus
from reference.synthetic.onnx_speech_tokenizer import write_speech_tokenizer
from reference.synthetic.sizes import TINY
from reference.synthetic.text import write_blank_en
from reference.synthetic.yaml import yaml_text
from tests.fuzz.audio_targets import AUDIO_TARGETS
from tests.fuzz.folder_targets import FOLDER_TARGETS

#: What a reader may raise, besides nothing.
ALLOWED = (ValueError, OSError)


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        file: the name that its file has.
        seed: makes the content of a valid one.
        read: reads the file at a path; all others that it needs are valid and lie beside it.
        wrap: makes the file of what is mutated, where that is only a part of it.
    """

    file: str
    seed: Callable[[], bytes]
    read: Callable[[Path], Any]
    wrap: Callable[[bytes], bytes] = bytes


def _made(write: Callable[[Path], Any]) -> Callable[[], bytes]:
    """The bytes of the file that `write` writes."""

    @cache
    def seed() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "seed"
            write(path)
            return path.read_bytes()

    return seed


@cache
def text_files() -> dict[str, bytes]:
    """The files of CosyVoice-BlankEN, and the tokenizer.json that they become."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_blank_en(folder, vocab_size="tiny", qwen_config=TINY["llm"]["qwen"])
        vocab, merges, added = (folder / file for file in ("vocab.json", "merges.txt", "tokenizer_config.json"))
        (folder / "tokenizer.json").write_text(build_tokenizer(vocab, merges, added).to_str(), encoding="utf-8")
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def _text(file: str) -> Callable[[], bytes]:
    return lambda: text_files()[file]


def _build_tokenizer(path: Path) -> Any:
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        if name != path.name:
            (path.parent / name).write_bytes(text_files()[name])
    vocab, merges, added = (path.parent / name for name in ("vocab.json", "merges.txt", "tokenizer_config.json"))
    return build_tokenizer(vocab, merges, added)


def _yaml(path: Path) -> Any:
    return model_config(COSYVOICE2_OFFICIAL, read_yaml(path), {}, where=path)


def _config() -> bytes:
    parts = ("llm", "flow", "hift", "campplus", "speech_tokenizer")
    head = {"model_type": "cosyvoice2", "format_version": 1, "components": parts}
    dtypes = {"dtypes": dict.fromkeys(parts, "float32"), "quantization": {"bits": 4, "group_size": 64}}
    return json.dumps({**head, **dtypes, **CosyVoice2Config().to_dict()}).encode()


def _voice(path: Path) -> None:
    Voice(
        prompt_token=np.arange(6, dtype=np.int32).reshape(1, 6),
        prompt_feat=np.zeros((1, 12, 80), np.float32),
        embedding=np.full((1, 192), 0.1, np.float32),
        transcript="Hello.",
    ).save(path.with_suffix(".safetensors"))
    path.with_suffix(".safetensors").rename(path)


_STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.zeros(3, dtype=torch.bfloat16), "step": 7}
_SPEAKERS = {"anna": {"embedding": torch.full((1, 192), 0.1)}}


def _pickle_of(content: Any) -> Callable[[], bytes]:
    def seed() -> bytes:
        file = io.BytesIO()
        torch.save(content, file)
        with zipfile.ZipFile(file) as archive:
            return archive.read("archive/data.pkl")

    return seed


def _around(content: Any) -> Callable[[bytes], bytes]:
    """Puts another pickle into what torch.save writes for `content`; checksums are right."""

    def wrap(pickle: bytes) -> bytes:
        file, result = io.BytesIO(), io.BytesIO()
        torch.save(content, file)
        with zipfile.ZipFile(file) as old, zipfile.ZipFile(result, "w") as new:
            for name in old.namelist():
                new.writestr(name, pickle if name.endswith("data.pkl") else old.read(name))
        return result.getvalue()

    return wrap


_ENCODER = asdict(SpeakerEncoderConfig(growth_rate=8, bn_size=2, init_channels=16, num_layers=(1, 1, 1)))
_TOKENIZER = asdict(SpeechTokenizerConfig(n_mels=16, n_audio_state=32, n_audio_head=4, n_audio_layer=1))

TARGETS = {
    "yaml": Target("cosyvoice2.yaml", lambda: yaml_text(TINY, 1).encode(), _yaml),
    "qwen": Target("config.json", _text("config.json"), read_qwen_config),
    "vocab": Target("vocab.json", _text("vocab.json"), _build_tokenizer),
    "merges": Target("merges.txt", _text("merges.txt"), _build_tokenizer),
    "added": Target("tokenizer_config.json", _text("tokenizer_config.json"), _build_tokenizer),
    "recipe": Target("recipe.json", lambda: b'{"dtype": "float16", "keep": ["flow.encoder.embed"]}', read_recipe),
    "pt": Target("llm.pt", _made(lambda path: torch.save(_STATE, path)), load),
    "pt-pickle": Target("llm.pt", _pickle_of(_STATE), load, _around(_STATE)),
    "speakers": Target("spk2info.pt", _made(lambda path: torch.save(_SPEAKERS, path)), read_spk2info),
    "speakers-pickle": Target("spk2info.pt", _pickle_of(_SPEAKERS), read_spk2info, _around(_SPEAKERS)),
    "campplus": Target("campplus.onnx", _made(lambda path: write_campplus(path, _ENCODER)), read_campplus),
    "speech-tokenizer": Target(
        "speech_tokenizer_v2.onnx", _made(lambda path: write_speech_tokenizer(path, _TOKENIZER)), read_speech_tokenizer
    ),
    "model-config": Target("config.json", _config, lambda path: read_config(path.parent)),
    "safetensors": Target("model.safetensors", _made(_voice), read_header),
    "voice": Target("anna.safetensors", _made(_voice), Voice.load),
    "tokenizer": Target("tokenizer.json", _text("tokenizer.json"), TextTokenizer.from_file),
    **{name: Target(*parts) for name, parts in (FOLDER_TARGETS | AUDIO_TARGETS).items()},
}


def attempt(target: Target, content: bytes, folder: Path) -> str | None:
    """Let the reader read `content`. Returns its message, None if it was read.

    Raises:
        AssertionError: the message is not one printable line of at most 1200 characters.
        BaseException: what the reader must not raise.
    """
    path = folder / target.file
    path.write_bytes(target.wrap(content))
    try:
        target.read(path)
    except ALLOWED as error:
        text = str(error)
        assert text.isprintable(), f"not printable: {text[:300]!r}"
        assert len(text) <= 1200, f"{len(text)} characters: {text[:300]!r}"
        return text
    return None

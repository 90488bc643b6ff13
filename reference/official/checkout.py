"""Imports the networks of a checkout of FunAudioLLM/CosyVoice, and nothing of what stands around them."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

#: What their imports need, in the versions of their requirements where those matter.
INSTALL = (
    "pip install transformers==4.51.3 diffusers==0.29.0 x-transformers==2.11.24 einops omegaconf scipy librosa "
    "openai-whisper"
)
MATCHA = Path("third_party/Matcha-TTS")

#: What their files import, and what no network uses: empty modules stand in. With what each has that is asked for.
STUBS: dict[str, dict[str, Any]] = {
    "torchaudio": {},  # reads files, and computes the filter bank, in the front end
    "torchaudio.compliance": {},
    "torchaudio.compliance.kaldi": {},
    "conformer": {"ConformerBlock": object},  # of Matcha's own decoder
    "matcha.utils": {},  # its `__init__` imports hydra, lightning, gdown, wget and matplotlib to train Matcha
    "matcha.utils.pylogger": {"get_pylogger": logging.getLogger},
}


class Checkout:
    """The official code in a folder; `checkout("flow.flow")` is its module `cosyvoice.flow.flow`.

    Raises:
        ValueError: the folder is no checkout, the submodule is missing, or a package is.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "cosyvoice/flow/flow.py").is_file():
            raise ValueError(f"--official {folder}: no checkout of FunAudioLLM/CosyVoice (no cosyvoice/flow/flow.py)")
        if not (folder / MATCHA / "matcha").is_dir():
            raise ValueError(f"--official {folder}: {MATCHA} is empty; run git submodule update --init there")
        self.folder = folder
        for name, package in (("cli.model", "cosyvoice"), ("utils.audio", "matcha"), ("audio", "whisper")):
            self(name, package)  # what is missing is said before anything runs

    def __call__(self, name: str, package: str = "cosyvoice") -> Any:
        try:
            for first in ("transformers", "diffusers"):  # these look for packages that stubs would pretend to be
                importlib.import_module(first)
            with _importing(self.folder):
                return importlib.import_module(f"{package}.{name}")
        except ModuleNotFoundError as error:
            raise ValueError(f"--official {self.folder}: its code needs {error.name}; {INSTALL}") from error


@contextmanager
def _importing(folder: Path) -> Iterator[None]:
    """In which the checkout is found, stubs stand in, and its set-up of all logging is left out."""
    stubs = {name: ModuleType(name) for name in STUBS if name not in sys.modules}
    for name, stub in stubs.items():
        vars(stub).update(STUBS[name], __spec__=ModuleSpec(name, None), __path__=[])
    if "matcha.utils" in stubs:
        stubs["matcha.utils"].__path__ = [str(folder / MATCHA / "matcha/utils")]
    sys.modules.update(stubs)
    try:
        path = mock.patch.object(sys, "path", [str(folder), str(folder / MATCHA), *sys.path])
        with path, mock.patch.object(logging, "basicConfig"):
            yield
    finally:
        for name in stubs:
            sys.modules.pop(name)

"""The spoken corpus: made once into a folder, then read from there as arrays.

Every utterance is cut to whole speech tokens (40 ms), so that a token has 2 frames of mel, 4 of the tokenizer's log mel
and of CAM++'s filter bank, and 960 samples at 24 kHz, and one table of offsets serves them all.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch

from reference import features
from reference.nano.voices import RATE, VARIANTS, say
from reference.nano.words import SEED, held_out_strings, training_texts, written

TOKEN_SAMPLES, TOKEN_SAMPLES_16K = 960, 640
#: Array -> rows a token, columns, dtype.
ARRAYS: dict[str, tuple[int, int, Any]] = {
    "wave": (TOKEN_SAMPLES, 1, np.int16),
    "mel": (2, 80, np.float16),
    "log_mel": (4, 128, np.float16),
    "fbank": (4, 80, np.float16),
}
#: The last frames of `fbank` are zero: its window reaches over the end.
FBANK_MISSING = 2

INDEX = "index.json"


@dataclass(frozen=True)
class Utterance:
    """`start` and `tokens` say where it is in the arrays. `ends`: of the phones, in seconds."""

    words: tuple[str, ...]
    variant: int
    start: int
    tokens: int
    phones: list[str]
    ends: list[float]


@dataclass(frozen=True)
class Corpus:
    """The utterances of a split ("train", "test": test strings in the training variants, "held": in the others)."""

    utterances: list[Utterance]
    arrays: dict[str, np.ndarray]

    def array(self, name: str, utterance: Utterance) -> torch.Tensor:
        """[rows, columns] float32 of one utterance; `wave` is [samples, 1] in [-1, 1]."""
        rows = ARRAYS[name][0]
        part = torch.from_numpy(
            self.arrays[name][rows * utterance.start : rows * (utterance.start + utterance.tokens)].astype(np.float32)
        )
        if name == "fbank":
            part = part[:-FBANK_MISSING]
        return part / 32768 if name == "wave" else part

    def stack(self, name: str, utterances: list[Utterance]) -> torch.Tensor:
        """[B, rows, columns] of utterances of one length."""
        return torch.stack([self.array(name, utterance) for utterance in utterances])

    @cached_property
    def by_length(self) -> dict[int, list[Utterance]]:
        found: dict[int, list[Utterance]] = {}
        for utterance in self.utterances:
            found.setdefault(utterance.tokens, []).append(utterance)
        return found

    def batch(self, size: int, rng: np.random.Generator) -> list[Utterance]:
        """Up to `size` utterances of one length, so that nothing need be padded; each is as likely as any other."""
        first = self.utterances[rng.integers(len(self.utterances))]
        alike = self.by_length[first.tokens]
        chosen = rng.choice(len(alike), size=min(size, len(alike)), replace=False)
        return [alike[index] for index in chosen]


def make_corpus(folder: Path, per_variant: int, tests: int) -> None:
    """Speak all splits into `folder`: `per_variant` training texts and `tests` test strings in each variant."""
    for split in ("train", "test", "held"):
        if not (folder / split / INDEX).exists():
            _make_split(folder / split, split, per_variant, tests)


def _make_split(folder: Path, split: str, per_variant: int, tests: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng((SEED, 1))
    strings = held_out_strings()
    index, start = [], 0
    files = {name: (folder / f"{name}.bin").open("wb") for name in ARRAYS}
    for number, variant in enumerate(VARIANTS):
        texts = training_texts(per_variant, rng)
        if variant.held_out != (split == "held"):
            continue
        if split != "train":
            texts = [strings[(number * tests + offset) % len(strings)] for offset in range(tests)]
        for words in texts:
            said = say(written(words), variant)
            tokens = len(said.wave) // TOKEN_SAMPLES_16K
            for name, array in _arrays(said.wave, tokens).items():
                files[name].write(array.astype(ARRAYS[name][2]).tobytes())
            index.append([words, number, start, tokens, said.phones, [round(end, 3) for end in said.ends]])
            start += tokens
        print(f"{split}: variant {number}, {len(index)} utterances, {start / 25 / 60:.1f} min", file=sys.stderr)
    for file in files.values():
        file.close()
    unfinished = folder / f"{INDEX}.part"
    unfinished.write_text(json.dumps(index))
    os.replace(unfinished, folder / INDEX)


def _arrays(wave: np.ndarray, tokens: int) -> dict[str, np.ndarray]:
    low = torch.from_numpy(wave[: tokens * TOKEN_SAMPLES_16K])
    high = soxr.resample(wave, RATE, 24000)[: tokens * TOKEN_SAMPLES]
    high = np.pad(high, (0, tokens * TOKEN_SAMPLES - len(high)))
    fbank = features.mean_normalize(features.kaldi_fbank(low)).numpy()
    return {
        "wave": (high * 32767).round().clip(-32768, 32767)[:, None],
        "mel": features.mel_spectrogram(torch.from_numpy(high)).T.numpy(),
        "log_mel": features.log_mel_spectrogram(low).T.numpy(),
        "fbank": np.pad(fbank, ((0, FBANK_MISSING), (0, 0))),
    }


def load_corpus(folder: Path, split: str) -> Corpus:
    """One split of the corpus in `folder`, its arrays mapped and not read.

    Raises:
        OSError: it was not made.
    """
    index = json.loads((folder / split / INDEX).read_text())
    utterances = [Utterance(tuple(words), *rest) for words, *rest in index]
    arrays = {
        name: np.memmap(folder / split / f"{name}.bin", dtype=dtype, mode="r").reshape(-1, columns)
        for name, (_, columns, dtype) in ARRAYS.items()
    }
    return Corpus(utterances, arrays)

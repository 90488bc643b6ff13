"""Writes `campplus.onnx` and `speech_tokenizer_v2.onnx` of a synthetic checkpoint.

Weights come from the recipe; names, scopes and folded BatchNorms are those of the published files, so that whatever
reads one of these reads those. The files run in ONNX Runtime and compute what the reference computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reference.synthetic import recipe
from reference.synthetic.onnx_campplus import CAMPPlusWriter
from reference.synthetic.onnx_speech_tokenizer import SpeechTokenizerWriter


def write_campplus(path: str | Path, config: Mapping[str, Any], seed: int = recipe.SEED) -> None:
    """Write CAM++: `input` [B, T, feat_dim] -> `output` [B, embedding_size], float32.

    `config` is the one of `reference.campplus.build`. The bytes depend on the arguments only.
    """
    CAMPPlusWriter(config, seed).write(path)


def write_speech_tokenizer(path: str | Path, config: Mapping[str, Any], seed: int = recipe.SEED) -> None:
    """Write the tokenizer: `feats` [1, n_mels, T] float32 and `feats_length` [1] int32 -> `indices` [1, T'] int32.

    `config` is the one of `reference.speech_tokenizer.build`. The bytes depend on the arguments only.
    """
    SpeechTokenizerWriter(config, seed).write(path)

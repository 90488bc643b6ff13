"""mlx-whisper beside transformers' Whisper: an encoder and a decoder as two stages of a pipeline.

    pip install '.[zoo]' && pip install --no-deps mlx-whisper==0.4.3
    mlx-parity run examples/porting/whisper.py

Both have the same random weights, under their own names and layouts. The audio is as long as Whisper's, 30 seconds; the
decoder reads a prompt at once and then token by token, with its cache. docs/peers.md says what came of it.
"""

import importlib
import re
from functools import cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from bare_packages import pass_by_init

from mlx_parity import Port

MELS, POSITIONS, WIDTH, HEADS, LAYERS = 8, 1500, 32, 2, 2
VOCABULARY, TEXT = 96, 24
PROMPT, STEPS = 9, 4

#: Pieces of mlx-whisper's paths -> what transformers calls them.
NAMES: dict[str, Any] = {
    r"\bblocks\b": "layers",
    r"\bcross_attn": "encoder_attn",
    r"\battn": "self_attn",
    r"\bmlp_ln\b": "final_layer_norm",
    r"attn_ln\b": "attn_layer_norm",
    r"\bln(_post)?\b": "layer_norm",
    r"\bmlp(\d)\b": r"fc\1",
    r"\b(query|key|value)\b": lambda found: f"{found[1][0]}_proj",
    r"\bout\b": "out_proj",
    r"\btoken_embedding\b": "embed_tokens",
    r"\bpositional_embedding\b": "embed_positions.weight",
}


def rename(path: str) -> str:
    """What transformers calls a module or a parameter of mlx-whisper's encoder or decoder."""
    for piece, name in NAMES.items():
        path = re.sub(piece, name, path)
    return path


@cache
def original():
    """transformers' model with random weights: an encoder and a decoder.

    The encoder's positions stay the sinusoids that every checkpoint of Whisper stores.
    """
    import torch
    import transformers

    torch.manual_seed(0)
    sizes: dict[str, Any] = {f"{token}_token_id": 0 for token in ("pad", "bos", "eos", "decoder_start")}
    for part in ("encoder", "decoder"):
        sizes |= {f"{part}_layers": LAYERS, f"{part}_attention_heads": HEADS, f"{part}_ffn_dim": 4 * WIDTH}
    sizes |= {"vocab_size": VOCABULARY, "num_mel_bins": MELS, "d_model": WIDTH}
    sizes |= {"max_source_positions": POSITIONS, "max_target_positions": TEXT}
    config = transformers.WhisperConfig(**sizes)
    model = transformers.WhisperModel(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name != "encoder.embed_positions.weight":
                noise = torch.randn(weight.shape)
                weight.add_(0.2 * noise) if weight.ndim < 2 else weight.copy_(noise * weight[0].numel() ** -0.5)
    return model


@cache
def port():
    """mlx-whisper's model with the same weights."""
    pass_by_init("mlx_whisper", "pip install --no-deps mlx-whisper==0.4.3")  # it imports numba and SciPy
    whisper = importlib.import_module("mlx_whisper.whisper")
    dimensions = (MELS, POSITIONS, WIDTH, HEADS, LAYERS, VOCABULARY, TEXT, WIDTH, HEADS, LAYERS)
    model = whisper.Whisper(whisper.ModelDimensions(*dimensions), dtype=mx.float32)
    for part in ("encoder", "decoder"):
        fill(getattr(model, part), getattr(original(), part).state_dict())
    return model


def fill(module, state):
    """Give every parameter of a part the original's: the kernels of convolutions have their channels last in MLX."""
    from mlx.utils import tree_flatten

    flat: list[tuple[str, Any]] = tree_flatten(module.parameters())  # type: ignore[assignment]
    names = [name for name, _ in flat]
    arrays = {name: state[rename(name)].numpy() for name in names}
    laid_out = {name: np.moveaxis(array, 1, 2) if array.ndim == 3 else array for name, array in arrays.items()}
    module.load_weights([(name, mx.array(array)) for name, array in laid_out.items()], strict=True)


def encode(side, given):
    """The encoder over a mel spectrogram."""
    mel = side.array(given["mel"])
    if isinstance(side.module, nn.Module):
        return {"audio": side.module(mel)}
    return {"audio": side.module(mel.transpose(1, 2)).last_hidden_state}


#: What the decoder reads at once.
PIECES = [(0, PROMPT), *((at, at + 1) for at in range(PROMPT, PROMPT + STEPS))]


def decode(side, given):
    """The decoder over the prompt and then each token: logits by piece."""
    ids, audio = side.plain(given["ids"]), side.array(given["audio"])
    past, logits = None, {}
    for start, end in PIECES:
        logits[f"logits{start}"], past = decoded(side, ids[:, start:end], audio, past)
    return logits


def decode_at_once(side, given):
    """The same in one pass, without a cache."""
    logits, _ = decoded(side, side.plain(given["ids"]), side.array(given["audio"]), None)
    return {f"logits{start}": logits[:, start:end] for start, end in PIECES}


def decoded(side, ids, audio, past):
    """Logits of either decoder, and its cache."""
    if isinstance(side.module, nn.Module):
        return side.module(ids, audio, past)[:2]
    made = side.module(ids, encoder_hidden_states=audio, cache=past, use_cache=True)
    return made.last_hidden_state @ side.module.embed_tokens.weight.T, made.cache


def stages():
    """The decoder is judged on what the original's encoder makes."""
    encoder = (lambda: original().encoder, lambda: port().encoder)
    decoder = (lambda: original().decoder, lambda: port().decoder)
    return [
        Port("encoder", *encoder, encode, needs=("mel",), gives=("audio",), rename=rename),
        Port("decoder", *decoder, decode, needs=("ids", "audio"), rename=rename, whole=decode_at_once),
    ]


def inputs():
    """`mel` [batch, frames, mels] and `ids` [batch, tokens]."""
    generator = np.random.default_rng(0)
    return {
        "mel": generator.standard_normal((1, 2 * POSITIONS, MELS)).astype(np.float32),
        "ids": generator.integers(1, VOCABULARY, (1, PROMPT + STEPS)),
    }

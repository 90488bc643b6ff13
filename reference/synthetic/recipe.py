"""The weight and input recipe behind every synthetic checkpoint and golden file.

A tensor is a pure function of (seed, name, shape), so no weights need to be stored: two
implementations that fill the same official parameter names get the same numbers on any machine.
Only NumPy's raw Philox bits are used (a fixed, documented bit stream); the float mapping is ours.
"""

import hashlib

import numpy as np

SEED = 1986


def uniform(name: str, shape, seed: int = SEED) -> np.ndarray:
    """float32 in [-1, 1), 24 random bits each, from Philox4x64.

    The key is sha256(f"{seed}/{name}")[:16], little endian.
    """
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw(int(np.prod(shape, dtype=np.int64)))
    return ((raw >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - np.float32(1)).reshape(shape)


def unit(name: str, shape, seed: int = SEED) -> np.ndarray:
    """Zero mean, unit variance (uniform * sqrt(3)): stands in for Gaussian noise and features."""
    return uniform(name, shape, seed) * np.float32(np.sqrt(3.0))


def integers(name: str, shape, high: int, seed: int = SEED) -> np.ndarray:
    """int64 in [0, high)."""
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw(int(np.prod(shape, dtype=np.int64)))
    return (raw % np.uint64(high)).astype(np.int64).reshape(shape)


# Attention logits with a spread of a few units, and residual branches that weigh as much as the stream they join.
# The gates, scales and shifts of CosyVoice3's DiT are of order one; its names are no part of a CosyVoice2 name.
GAINS = (
    *(("time_embed.time_mlp.", 2.0), ("norm_out.linear.", 0.5), ("proj_out.", 1.6)),
    *((part, 2.0) for part in ("to_q.", "to_k.", "linear_q.", "linear_k.", "q_proj.", "k_proj.", ".query.", ".key.")),
    *((part, 8.0) for part in ("linear_out.", "feed_forward.w_2.")),  # the Conformer scales its input by sqrt(512)
    ("final_proj.", 2.5),
)
EMBEDDINGS = ("embedding.weight", "embed_tokens.weight")


def parameter(name: str, shape, seed: int = SEED) -> np.ndarray:
    """The value of the official parameter or buffer `name` (name as in the official state dict), float32.

    Scaled like a trained network rather than a fresh one: attention logits with a spread of a few
    units (so a wrong mask is loud), norms near one, f0 mostly voiced and sometimes not (threshold 10 Hz),
    mel near mean -5, std 2.2.
    """
    if name.endswith("rotary_embed.inv_freq"):  # a constant that the checkpoint stores
        return (10000.0 ** (-np.arange(shape[0], dtype=np.float64) / shape[0])).astype(np.float32)
    u = uniform(name, shape, seed)
    if name.endswith("num_batches_tracked"):
        return np.ones(shape, np.float32)
    if name.endswith("running_var"):
        return 1.0 + np.float32(0.5) * u
    if name.endswith("running_mean"):
        return np.float32(0.1) * u
    if name.endswith(("pos_bias_u", "pos_bias_v")):
        return np.float32(0.5) * u
    if name.endswith("alpha"):  # snake
        return 1.0 + np.float32(0.3) * u
    if name.endswith("f0_predictor.classifier.weight"):
        return np.float32(160.0 * np.sqrt(3.0 / shape[1])) * u
    if name.endswith("f0_predictor.classifier.bias"):
        return np.float32(60.0) + np.float32(5.0) * u
    if name.endswith(("final_proj.bias", "proj_out.bias")):
        return np.float32(-5.0) + np.float32(0.5) * u
    if name.endswith("conv_post.parametrizations.weight.original0"):
        return np.float32(0.15) + np.float32(0.02) * u
    if name.endswith("original0"):  # weight norm gain g
        return 1.0 + np.float32(0.1) * u
    if name.endswith(EMBEDDINGS):
        return np.float32(np.sqrt(3.0)) * u
    if len(shape) >= 2:
        fan_in = int(np.prod(shape[1:], dtype=np.int64))
        gain = next((g for part, g in GAINS if part in name), 1.0)
        return np.float32(gain * np.sqrt(3.0 / fan_in)) * u
    if name.endswith("weight"):  # norms
        return 1.0 + np.float32(0.1) * u
    return np.float32(0.1) * u  # biases

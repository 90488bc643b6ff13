"""Faults in mlx-whisper: convolutions, positions, cross attention, and a decoder with a cache."""

from __future__ import annotations

from .fault import Fault, PublicPort

WHISPER = PublicPort(
    "mlx_whisper.whisper",
    (
        Fault(
            "keys-of-the-text",
            "Cross attention takes its keys and values from the text, not from the audio.",
            (("self.cross_attn_ln(x), xa, kv_cache=cross_kv", "self.cross_attn_ln(x), x, kv_cache=cross_kv"),),
            ("decoder/layers.*",),
        ),
        Fault(
            "cosines-before-sines",
            "The encoder's positions have their cosines before their sines.",
            (
                (
                    "x = x + self.positional_embedding\n",
                    "x = x + mx.roll(self.positional_embedding, x.shape[-1] // 2, axis=1)\n",
                ),
            ),
            ("encoder",),
        ),
        Fault(
            "strides-exchanged",
            "The first convolution has the stride of the second, and the second none.",
            (
                ("n_mels, n_state, kernel_size=3, padding=1", "n_mels, n_state, kernel_size=3, stride=2, padding=1"),
                ("n_state, n_state, kernel_size=3, stride=2, padding=1", "n_state, n_state, kernel_size=3, padding=1"),
            ),
            ("encoder/conv1", "encoder/conv2"),
        ),
        Fault(
            "position-with-cache",
            "With a cache, the decoder's positions are one too early.",
            (("kv_cache[0][0][0].shape[1] if kv_cache", "kv_cache[0][0][0].shape[1] - 1 if kv_cache"),),
            ("decoder",),
        ),
        Fault(
            "residual-dropped",
            "What the MLP makes takes the place of its input and is not added to it.",
            (("x = x + self.mlp2(", "x = self.mlp2("),),
            ("encoder/layers.*", "decoder/layers.*"),
        ),
        Fault(
            "mask-transposed",
            "The mask lets every position see those after it.",
            (("mask[:n_ctx, :n_ctx]", "mask[:n_ctx, :n_ctx].T"),),
            ("decoder/layers.*.self_attn",),
        ),
    ),
    later=(
        Fault(
            "audio-cut",
            "The decoder leaves the last position of the audio out.",
            (("x, xa, mask=self._mask", "x, xa[:, :-1], mask=self._mask"),),
            ("decoder",),
        ),
        Fault(
            "padding-left-out",
            "The first convolution has no padding.",
            (("n_mels, n_state, kernel_size=3, padding=1", "n_mels, n_state, kernel_size=3"),),
            ("encoder/conv1",),
        ),
        Fault(
            "dilated",
            "The second convolution is dilated.",
            (("kernel_size=3, stride=2, padding=1", "kernel_size=3, stride=2, padding=1, dilation=2"),),
            ("encoder/conv2",),
        ),
    ),
    mended=(
        (
            "        self._positional_embedding = sinusoids(n_ctx, n_state).astype(dtype)\n",
            "        self._positional_embedding = sinusoids(n_ctx, n_state).astype(dtype)\n"
            "        self.positional_embedding = mx.zeros((n_ctx, n_state))\n",
        ),
        ("x = x + self._positional_embedding\n", "x = x + self.positional_embedding\n"),
    ),
)

"""Faults in mlx-lm's gemma3_text: windows of 8 positions in two of three layers, norms of queries and keys."""

from __future__ import annotations

from .fault import Fault, PublicPort

GEMMA3_TEXT = PublicPort(
    "mlx_lm.models.gemma3_text",
    (
        Fault(
            "window-one-short",
            "The sliding window is one position shorter.",
            (("window_size=self.window_size,", "window_size=self.window_size - 1,"),),
            ("model",),
        ),
        Fault(
            "rope-base-of-global-layers",
            "Layers with a window rotate by the base of those without.",
            (("base=args.rope_local_base_freq,", "base=args.rope_theta,"),),
            ("model.layers.[0134].self_attn",),
        ),
        Fault(
            "norm-plus-one",
            "Norms multiply by their weights, not by one plus their weights.",
            (("mx.fast.rms_norm(x, 1.0 + self.weight, self.eps)", "mx.fast.rms_norm(x, self.weight, self.eps)"),),
            (
                *(f"model.layers.*.{name}_layernorm" for name in ("input", "post_attention")),
                *(f"model.layers.*.{name}_feedforward_layernorm" for name in ("pre", "post")),
                "model.layers.*.self_attn.[qk]_norm",
                "model.norm",
            ),
        ),
        Fault(
            "softcap",
            "Logits pass the softcap that Gemma 2 has and Gemma 3 has not.",
            (
                (
                    "out = self.model.embed_tokens.as_linear(out)",
                    "out = 30.0 * mx.tanh(self.model.embed_tokens.as_linear(out) / 30.0)",
                ),
            ),
            ("gemma3_text",),
        ),
        Fault(
            "norm-after-residual",
            "What attention makes is normalised together with the residual, not before it is added.",
            (
                (
                    "h = clip_residual(x, self.post_attention_layernorm(r))",
                    "h = self.post_attention_layernorm(clip_residual(x, r))",
                ),
            ),
            ("model.layers.*",),
        ),
        Fault(
            "embedding-scale",
            "Embeddings are not scaled by the root of the width.",
            (("        h *= mx.array(self.args.hidden_size**0.5).astype(h.dtype)\n", ""),),
            ("model.embed_tokens",),
        ),
    ),
    later=(
        Fault(
            "no-window",
            "Layers with a window get the mask of those without.",
            (("mask = global_mask if is_global else sliding_window_mask", "mask = global_mask"),),
            ("model",),
        ),
    ),
    mended=(("mx.array(self.args.hidden_size**0.5, mx.bfloat16)", "mx.array(self.args.hidden_size**0.5)"),),
)

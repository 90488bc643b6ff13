"""Faults in mlx-lm's llama: 4 heads of 16 that share 2 heads of keys, biases, Llama 3's rotary frequencies."""

from __future__ import annotations

from .fault import Fault, PublicPort

ATTENTION, MLP = ("model.layers.*.self_attn",), ("model.layers.*.mlp",)
SDPA = "        output = scaled_dot_product_attention(\n"

LLAMA = PublicPort(
    "mlx_lm.models.llama",
    (
        Fault(
            "rope-pairs",
            "Queries and keys are rotated in pairs of neighbours, not in halves of a head.",
            (("            args.rope_traditional,\n", "            True,\n"),),
            ATTENTION,
        ),
        Fault(
            "cache-offset",
            "With a cache, queries are rotated as if they stood at the beginning.",
            (("queries = self.rope(queries, offset=cache.offset)", "queries = self.rope(queries)"),),
            ATTENTION,
        ),
        Fault(
            "gqa-order",
            "Heads of queries share keys and values in turn, not group by group.",
            (
                (
                    SDPA,
                    "        times = self.n_heads // self.n_kv_heads\n"
                    "        keys, values = (mx.tile(one, (1, times, 1, 1)) for one in (keys, values))\n" + SDPA,
                ),
            ),
            ATTENTION,
        ),
        Fault(
            "softmax-scale",
            "Scores are scaled by the root of the model's width, not of a head's.",
            (("self.scale = head_dim**-0.5", "self.scale = dim**-0.5"),),
            ATTENTION,
        ),
        Fault(
            "gate-and-up",
            "The activation is applied to the projection up, not to the gate.",
            (
                (
                    "swiglu(self.gate_proj(x), self.up_proj(x))",
                    "swiglu(self.up_proj(x), self.gate_proj(x))",
                ),
            ),
            MLP,
        ),
        Fault(
            "bias-not-added",
            "The output projection is applied as a product of matrices, without its bias.",
            (("return self.o_proj(output)", "return output @ self.o_proj.weight.T"),),
            ATTENTION,
        ),
    ),
    later=(
        Fault(
            "window-of-16",
            "All layers see the last 16 positions alone.",
            (("create_attention_mask(h, cache[self.fa_idx])", "create_attention_mask(h, cache[0], window_size=16)"),),
            ("model",),
        ),
    ),
)

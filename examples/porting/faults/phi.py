"""Faults in mlx-lm's phi: half of a head is rotated, attention and MLP stand side by side, everything has a bias."""

from __future__ import annotations

from .fault import Fault, PublicPort

ATTENTION = ("model.layers.*.self_attn",)
LAYERS = "    @property\n    def layers(self):\n"

PHI = PublicPort(
    "mlx_lm.models.phi",
    (
        Fault(
            "rotary-on-whole-heads",
            "Whole heads are rotated, not half of each.",
            (("int(self.partial_rotary_factor * self.head_dim),", "self.head_dim,"),),
            ATTENTION,
        ),
        Fault(
            "mlp-after-attention",
            "The MLP reads the sum of the input and what attention made of it, as in most models.",
            (("ff_h = self.mlp(h)", "ff_h = self.mlp(self.input_layernorm(x + attn_h))"),),
            ("model.layers.*",),
        ),
        Fault(
            "gelu-quick",
            "The quick GELU in place of the one by tanh.",
            (("nn.gelu_approx(", "nn.gelu_fast_approx("),),
            ("model.layers.*.mlp",),
        ),
        Fault(
            "queries-for-keys",
            "Conversion exchanges the query and the key projection of a layer, which are as large.",
            (
                (
                    LAYERS,
                    "    def sanitize(self, weights):\n"
                    '        queries, keys = (f"model.layers.1.self_attn.{one}_proj.weight" for one in "qk")\n'
                    "        return weights | {queries: weights[keys], keys: weights[queries]}\n\n" + LAYERS,
                ),
            ),
            ("model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.k_proj"),
        ),
        Fault(
            "queries-in-bfloat16",
            "Queries are cast to bfloat16 before attention.",
            (("queries.astype(mx.float32),", "queries.astype(mx.bfloat16).astype(mx.float32),"),),
            ATTENTION,
        ),
        Fault(
            "mask-lost",
            "Attention does not use its mask.",
            (("            mask=mask,\n", "            mask=None,\n"),),
            ATTENTION,
        ),
    ),
    later=(
        Fault(
            "mask-not-made",
            "The model hands no mask to its layers.",
            (("mask = create_attention_mask(x, cache[0])", "mask = None"),),
            ("model",),
        ),
    ),
)

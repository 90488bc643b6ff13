"""Faults in mlx-lm's mixtral: 8 experts, of which a router picks 2."""

from __future__ import annotations

from .fault import Fault, PublicPort

EXPERTS = ("model.layers.*.mlp",)

MIXTRAL = PublicPort(
    "mlx_lm.models.mixtral",
    (
        Fault(
            "softmax-before-the-pick",
            "The softmax is over all experts, and what the picked ones get of it is left as it is.",
            (
                ("mx.take_along_axis(gates, inds, axis=-1)", "mx.softmax(gates, axis=-1, precise=True)"),
                ("mx.softmax(scores, axis=-1, precise=True)", "mx.take_along_axis(scores, inds, axis=-1)"),
            ),
            EXPERTS,
        ),
        Fault(
            "next-expert",
            "Experts are counted from one: the one after the picked one runs.",
            (("self.switch_mlp(x, inds)", "self.switch_mlp(x, (inds + 1) % self.num_experts)"),),
            EXPERTS,
        ),
        Fault(
            "experts-gate-and-up",
            "Conversion takes the experts' gates for their projections up.",
            (
                ('("w1", "gate_proj")', '("w3", "gate_proj")'),
                ('("w3", "up_proj")', '("w1", "up_proj")'),
            ),
            EXPERTS,
        ),
        Fault(
            "norm-eps",
            "The last norm has another epsilon.",
            (
                (
                    "self.norm = nn.RMSNorm(args.hidden_size, eps=args.rms_norm_eps)",
                    "self.norm = nn.RMSNorm(args.hidden_size, eps=1e-6)",
                ),
            ),
            ("model.norm",),
        ),
        Fault(
            "cache-of-another-layer",
            "All layers write into the cache of the first.",
            (("            h = layer(h, mask, c)\n", "            h = layer(h, mask, cache[0])\n"),),
            ("model",),
            "Nothing is known of a cache, which is an object, and transformers hands one to all layers. Attention is "
            "named, which finds keys there that are not its own.",
        ),
        Fault(
            "weight-rounded",
            "Conversion rounds one tensor to bfloat16.",
            (
                (
                    "        for l in range(self.args.num_hidden_layers):\n",
                    '        name = "model.layers.2.self_attn.o_proj.weight"\n'
                    "        weights[name] = weights[name].astype(mx.bfloat16).astype(mx.float32)\n"
                    "        for l in range(self.args.num_hidden_layers):\n",
                ),
            ),
            ("model.layers.2.self_attn.o_proj",),
        ),
    ),
    later=(
        Fault(
            "mask-one-ahead",
            "The mask lets every position see the next one.",
            (
                (
                    "mask = create_attention_mask(h, cache[0])",
                    "mask = mx.tri(h.shape[1], k=1, dtype=mx.bool_) if h.shape[1] > 1 else None",
                ),
            ),
            ("model",),
        ),
    ),
)

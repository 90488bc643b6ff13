"""The graphs of `speech_tokenizer_v2.onnx` and `speech_tokenizer_v3.onnx`, with recipe weights.

The second one was exported for an older opset, which has no operator for a layer norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reference import speech_tokenizer
from reference.skeleton import skeleton
from reference.synthetic import recipe
from reference.synthetic.onnx_builder import FLOAT, INT32, INT64, GraphBuilder, Weights, recipe_weights

#: Running numbers of the published file: the convolutions, the first block, and the step from block to block.
TOKENIZER_CONVS, TOKENIZER_BLOCK, TOKENIZER_STEP = 2216, 2224, 52
#: Positions that the rotary table holds.
ROTARY_POSITIONS = 2048
#: The first opset that has LayerNormalization.
LAYER_NORM_OPSET = 17


class SpeechTokenizerWriter:
    """The speech tokenizer's graph. Every method adds a part and returns the name of its output."""

    def __init__(self, config: Mapping[str, Any], weights: Weights, opset: int = LAYER_NORM_OPSET) -> None:
        self.config, self.graph, self.weights, self.opset = config, GraphBuilder(), weights, opset

    def conv(self, name: str, number: int, x: str) -> str:
        weight = self.weights(f"encoder.{name}.weight")
        stored = [
            self.graph.anonymous("Conv", number, weight),
            self.graph.anonymous("Conv", number + 1, self.weights(f"encoder.{name}.bias")),
        ]
        x = self.graph.op(f"/{name}", "Conv", x, *stored, kernel_shape=weight.shape[2:], strides=[2], pads=[1, 1])
        return self.graph.gelu("", x)

    def linear(self, scope: str, module: str, number: int, x: str, bias: bool = True) -> str:
        """A linear map as the exporter writes it: MatMul by the transposed weight, and bias + product."""
        if bias:
            offset = self.graph.anonymous("Add", number, self.weights(f"{module}.bias"))
            number += 1
        weight = self.graph.anonymous("MatMul", number, self.weights(f"{module}.weight").T)
        x = self.graph.op(scope, "MatMul", x, weight)
        return self.graph.op(scope, "Add", offset, x) if bias else x

    def norm(self, scope: str, module: str, number: int, x: str, eps: float) -> str:
        if self.opset < LAYER_NORM_OPSET:
            return self.decomposed_norm(scope, module, number, x, eps)
        stored = [
            self.graph.anonymous("LayerNormalization", number, self.weights(f"{module}.weight")),
            self.graph.anonymous("LayerNormalization", number + 1, self.weights(f"{module}.bias")),
        ]
        return self.graph.op(scope, "LayerNormalization", x, *stored, axis=-1, epsilon=eps)

    def decomposed_norm(self, scope: str, module: str, number: int, x: str, eps: float) -> str:
        """A layer norm as the exporter takes it apart."""
        op, floats = self.graph.op, lambda value: self.graph.constant(scope, value, np.float32)
        centered = op(scope, "Sub", x, op(scope, "ReduceMean", x, axes=[-1]))
        variance = op(scope, "ReduceMean", op(scope, "Pow", centered, floats(2.0)), axes=[-1])
        deviation = op(scope, "Sqrt", op(scope, "Add", variance, floats(eps)))
        gain = self.graph.anonymous("Mul", number, self.weights(f"{module}.weight"))
        bias = self.graph.anonymous("Add", number + 1, self.weights(f"{module}.bias"))
        return op(scope, "Add", op(scope, "Mul", op(scope, "Div", centered, deviation), gain), bias)

    def mask(self) -> tuple[str, str]:
        """From `feats_length`: 1 or 0 a token [1, T', 1], and what attention adds to its logits [1, 1, 1, T']."""
        op, ints = self.graph.op, lambda value: self.graph.constant("", value, np.int64)
        length = op("", "Gather", op("", "Shape", "feats"), ints(2))
        frames = op("", "Range", ints(0), length, ints(1))
        valid = op("", "Less", frames, op("", "Cast", "feats_length", to=INT64))
        valid = op("", "Slice", valid, ints([0]), ints([np.iinfo(np.int64).max]), ints([0]), ints([4]))
        valid = op("", "Cast", valid, to=FLOAT)
        missing = op("", "Sub", self.graph.constant("", 1.0, np.float32), valid)
        bias = op("", "Mul", missing, self.graph.constant("", -1e10, np.float32))
        return op("", "Unsqueeze", valid, ints([0, 2])), op("", "Unsqueeze", bias, ints([0, 1, 2]))

    def rotary(self, x: str) -> list[str]:
        """Cosine and sine of the first T' positions, [T', 1, head size], from a stored real table."""
        op, ints = self.graph.op, lambda value: self.graph.constant("", value, np.int64)
        dim = self.config["n_audio_state"] // self.config["n_audio_head"]
        tables = speech_tokenizer.rotary_table(ROTARY_POSITIONS, dim, torch.zeros(()))
        table = self.graph.constant("", torch.stack(tables, dim=-1)[0, :, 0].numpy(), np.float32)
        length = op("", "Gather", op("", "Shape", x), ints([1]))
        table = op("", "Slice", table, ints([0]), length, ints([0]))
        return [op("", "Unsqueeze", op("", "Gather", table, ints(index), axis=2), ints([1])) for index in (0, 1)]

    def rotate(self, scope: str, x: str, table: list[str]) -> str:
        op, ints = self.graph.op, lambda value: self.graph.constant(scope, value, np.int64)
        half = self.config["n_audio_state"] // self.config["n_audio_head"] // 2
        first = op(scope, "Slice", x, ints([0]), ints([half]), ints([3]))
        second = op(scope, "Slice", x, ints([half]), ints([2 * half]), ints([3]))
        turned = op(scope, "Concat", op(scope, "Neg", second), first, axis=-1)
        return op(scope, "Add", op(scope, "Mul", x, table[0]), op(scope, "Mul", turned, table[1]))

    def heads(self, scope: str, x: str) -> str:
        """[1, T', width] -> [1, T', heads, size]; the only place where the file says how many heads there are."""
        op, ints = self.graph.op, lambda value: self.graph.constant(scope, value, np.int64)
        shape = op(scope, "Shape", x)
        sizes = [op(scope, "Gather", shape, ints([axis])) for axis in (0, 1)]
        shape = op(scope, "Concat", *sizes, ints([self.config["n_audio_head"]]), ints([-1]), axis=0)
        return op(scope, "Reshape", x, shape)

    def attention(self, block: int, x: str, masks: tuple[str, str], table: list[str]) -> str:
        scope, module = f"/blocks.{block}/attn", f"encoder.blocks.{block}.attn"
        op, number = self.graph.op, TOKENIZER_BLOCK + TOKENIZER_STEP * block
        query = self.linear(f"{scope}/query", f"{module}.query", number + 3, x)
        key = self.linear(f"{scope}/key", f"{module}.key", number + 6, x, bias=False)
        value = self.linear(f"{scope}/value", f"{module}.value", number + 8, x)
        query, key, split = (self.heads(scope, part) for part in (query, key, value))

        value = op(scope, "Mul", value, masks[0])
        name = f"blocks.{block}.attn.fsmn_block.weight"
        kernel = self.weights(f"encoder.{name}")
        side = (kernel.shape[2] - 1) // 2
        padding = self.graph.constant(f"{scope}/pad_fn", [0, 0, side, 0, 0, side], np.int64)
        memory = op(f"{scope}/pad_fn", "Pad", op(scope, "Transpose", value, perm=[0, 2, 1]), padding)
        stored, groups = self.graph.named(name, kernel), kernel.shape[0]
        memory = op(f"{scope}/fsmn_block", "Conv", memory, stored, kernel_shape=kernel.shape[2:], group=groups)
        memory = op(scope, "Add", op(scope, "Transpose", memory, perm=[0, 2, 1]), value)
        memory = op(scope, "Mul", memory, masks[0])

        size = self.config["n_audio_state"] // self.config["n_audio_head"]
        scale = self.graph.constant(scope, size**-0.25, np.float32)
        query = op(scope, "Transpose", self.rotate(scope, query, table), perm=[0, 2, 1, 3])
        key = op(scope, "Transpose", self.rotate(scope, key, table), perm=[0, 2, 3, 1])
        logits = op(scope, "MatMul", op(scope, "Mul", query, scale), op(scope, "Mul", key, scale))
        weights = op(scope, "Softmax", op(scope, "Add", logits, masks[1]), axis=-1)
        attended = op(scope, "MatMul", weights, op(scope, "Transpose", split, perm=[0, 2, 1, 3]))
        joined = self.graph.constant(scope, [0, 0, self.config["n_audio_state"]], np.int64)
        attended = op(scope, "Reshape", op(scope, "Transpose", attended, perm=[0, 2, 1, 3]), joined)
        return op(scope, "Add", self.linear(f"{scope}/out", f"{module}.out", number + 42, attended), memory)

    def block(self, index: int, x: str, masks: tuple[str, str], table: list[str]) -> str:
        scope, module = f"/blocks.{index}", f"encoder.blocks.{index}"
        number = TOKENIZER_BLOCK + TOKENIZER_STEP * index
        y = self.norm(f"{scope}/attn_ln", f"{module}.attn_ln", number, x, self.config["attn_ln_eps"])
        x = self.graph.op(scope, "Add", x, self.attention(index, y, masks, table))
        y = self.norm(f"{scope}/mlp_ln", f"{module}.mlp_ln", number + 44, x, self.config["mlp_ln_eps"])
        y = self.linear(f"{scope}/mlp/mlp.0", f"{module}.mlp.0", number + 47, y)
        y = self.linear(f"{scope}/mlp/mlp.2", f"{module}.mlp.2", number + 50, self.graph.gelu(f"{scope}/mlp/mlp.1", y))
        return self.graph.op(scope, "Add", x, y)

    def quantize(self, x: str) -> str:
        scope, op = "/quantizer", self.graph.op
        floats = lambda value: self.graph.constant(scope, value, np.float32)  # noqa: E731
        module = "quantizer._codebook.project_down"
        number = TOKENIZER_BLOCK + TOKENIZER_STEP * self.config["n_audio_layer"]
        bias = self.graph.named("quantizer.project_in.bias", self.weights(f"{module}.bias"))
        weight = self.graph.anonymous("MatMul", number, self.weights(f"{module}.weight").T)
        x = op(f"{scope}/project_in", "Add", bias, op(f"{scope}/project_in", "MatMul", x, weight))
        x = op(scope, "Mul", op(scope, "Tanh", x), floats(speech_tokenizer.SHRINK))
        digits = op(scope, "Add", op(scope, "Round", x), floats(1.0))
        powers = floats([speech_tokenizer.LEVELS**place for place in range(speech_tokenizer.DIGITS)])
        axes = self.graph.constant(scope, [-1], np.int64)
        total = op(scope, "ReduceSum", op(scope, "Mul", digits, powers), axes, keepdims=0)
        return op(scope, "Cast", total, to=INT32, output="indices")

    def write(self, path: str | Path) -> None:
        x = self.conv("conv2", TOKENIZER_CONVS + 2, self.conv("conv1", TOKENIZER_CONVS, "feats"))
        x = self.graph.op("", "Transpose", x, perm=[0, 2, 1])
        masks, table = self.mask(), self.rotary(x)
        for index in range(self.config["n_audio_layer"]):
            x = self.block(index, x, masks, table)
        self.quantize(x)
        self.graph.save(
            path,
            inputs={"feats": (FLOAT, [1, self.config["n_mels"], "T"]), "feats_length": (INT32, [1])},
            outputs={"indices": (INT32, [1, "Tt"])},
            opset=self.opset,
            ir_version=8,
        )


def write_speech_tokenizer(
    path: str | Path, config: Mapping[str, Any], seed: int = recipe.SEED, *, opset: int = LAYER_NORM_OPSET
) -> None:
    """Write the tokenizer: `feats` [1, n_mels, T] float32 and `feats_length` [1] int32 -> `indices` [1, T'] int32.

    `config` is the one of `reference.speech_tokenizer.build`; `opset` is 17 for the file of v2 and 16 for that of v3.
    The bytes depend on the arguments only.
    """
    weights = recipe_weights(skeleton(speech_tokenizer.build, config), "speech_tokenizer.", seed)
    SpeechTokenizerWriter(config, weights, opset).write(path)

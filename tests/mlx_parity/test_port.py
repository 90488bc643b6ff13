"""A port is judged in one call, whatever its modules are called and however its axes lie."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
import torch

from mlx_parity import Pipeline, Port, Verdict, check
from mlx_parity.findings import RunReport
from tests.mlx_parity.models import Block, Net, ids, port, reference, weights


def named(report: RunReport) -> list[tuple[str, str]]:
    return [(culprit.module, culprit.kind) for culprit in report.culprits]


def test_a_right_port_passes_with_nothing_declared() -> None:
    model = reference()
    report = check(model, port(model), ids())
    assert report.verdict is Verdict.PASS, report
    assert not report.culprits
    layers = {layer.path: layer for layer in report.stages[0].layers}
    assert max(layer.ratio for layer in layers.values()) < 4
    assert {"embed", "blocks.0.conv", "blocks.1", "head"} <= layers.keys()


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
def test_a_right_port_in_half_precision_passes(dtype: mx.Dtype) -> None:
    model = reference()
    net = port(model)
    net.set_dtype(dtype)
    report = check(model, net, ids())
    assert report.stages[0].dtype == str(dtype).rpartition(".")[2]
    assert report.verdict is Verdict.PASS, named(report)


def test_an_activation_is_blamed_on_the_block_and_the_place_is_named() -> None:
    model = reference()
    report = check(model, port(model, activation=nn.gelu_approx), ids())
    assert named(report) == [("blocks.1", "glue")]
    (culprit,) = report.culprits
    assert culprit.place == "blocks.1.conv"
    assert "blocks.1.up before it is right" in culprit.evidence[0]


def test_an_epsilon_is_named() -> None:
    model = reference()
    report = check(model, port(model, eps=1e-5), ids())
    assert named(report) == [("blocks.1.norm", "leaf")]
    assert "its constant `eps` is 1e-05, the reference's is 0.001" in report.culprits[0].evidence[0]


def test_a_flag_that_is_not_passed_on_is_named() -> None:
    class Unscaled(Net):
        def __call__(self, ids: mx.array) -> dict[str, mx.array]:
            x = self.embed(ids)
            for block in self.blocks:
                x = block(x)
            return {"logits": self.head(x), "hidden": x}

    model = reference()
    report = check(model, port(model, Unscaled), ids())
    assert named(report) == [("model", "glue")]
    assert "`scale` is 1.0, the reference's is 0.5" in report.culprits[0].evidence[0]


def test_a_weight_is_named_and_not_the_layers_after_it() -> None:
    model = reference()
    net = port(model)
    net.blocks[0].up.weight = net.blocks[0].up.weight * 1.01
    report = check(model, net, ids())
    assert named(report) == [("blocks.0.up", "weights")]
    assert "times 1.01" in report.culprits[0].evidence[0]


def test_a_square_matrix_that_was_transposed_is_a_mistake() -> None:
    torch.manual_seed(0)
    model, net = torch.nn.Sequential(torch.nn.Linear(8, 8)), nn.Sequential(nn.Linear(8, 8))
    weight, bias = (tensor.numpy() for tensor in model.state_dict().values())
    net.layers[0].update({"weight": mx.array(weight.T), "bias": mx.array(bias)})
    report = check(model, net, np.eye(8, dtype=np.float32), rename={r"layers\.": ""})
    assert named(report) == [("0", "weights")]
    assert "transposed" in report.culprits[0].evidence[0]


def test_modules_of_other_names_are_paired_by_what_they_hold() -> None:
    class OtherBlock(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln, self.fc1 = nn.LayerNorm(16, eps=1e-3), nn.Linear(16, 24)
            self.mix, self.fc2 = nn.Conv1d(24, 24, 3, padding=1), nn.Linear(24, 16)

        def __call__(self, x: mx.array) -> mx.array:
            return x + 0.5 * self.fc2(self.mix(nn.gelu_approx(self.fc1(self.ln(x)))))

    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wte, self.layers, self.out = nn.Embedding(11, 16), [OtherBlock(), OtherBlock()], nn.Linear(16, 11)

        def __call__(self, ids: mx.array) -> dict[str, mx.array]:
            x = self.wte(ids)
            for layer in self.layers:
                x = layer(x)
            return {"logits": self.out(x), "hidden": x}

    model, net = reference(), Other()
    names = {"embed": "wte", "head": "out", "blocks": "layers", "norm": "ln", "up": "fc1", "conv": "mix", "down": "fc2"}
    net.load_weights(
        [(".".join(names.get(part, part) for part in key.split(".")), value) for key, value in weights(model)]
    )
    report = check(model, net, ids())
    assert named(report) == [("blocks.0", "glue"), ("blocks.1", "glue")]
    assert not report.stages[0].unpaired


def test_a_factor_that_stands_in_the_weights_on_one_side_is_no_mistake() -> None:
    class Folded(Block):
        def __call__(self, x: mx.array, scale: float = 1.0) -> mx.array:
            return x + self.down(self.conv(self.activation(self.up(self.norm(x)))))

    class FoldedNet(Net):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = [Folded(), Folded()]

    model = reference()
    net = port(model, FoldedNet)
    for block in net.blocks:
        block.down.weight, block.down.bias = block.down.weight * 0.5, block.down.bias * 0.5
    report = check(model, net, ids())
    assert report.verdict is Verdict.PASS, named(report)
    passed = {layer.path: layer.reason for layer in report.audits[0].layers}
    assert "times 0.5: judged by what the port makes of it" in passed["blocks.1.down.weight"]
    net.blocks[1].down.weight = net.blocks[1].down.weight * 1.01
    assert named(check(model, net, ids())) == [("blocks.1", "glue")]


def test_a_row_that_no_input_reaches_is_a_mistake_still() -> None:
    model = reference()
    net = port(model)
    net.embed.weight[10] = net.embed.weight[10] + 1
    report = check(model, net, ids() % 10)
    assert named(report) == [("embed", "weights")]


def test_a_parameter_may_stand_in_a_part() -> None:
    class Kept(nn.Linear):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.inner = nn.Linear(16, 11)

        def __call__(self, x: mx.array) -> mx.array:
            return self.inner(x)

    class KeptNet(Net):
        def __init__(self) -> None:
            super().__init__()
            self.head = Kept()

    model = reference()
    net = KeptNet()
    net.load_weights([(name.replace("head.", "head.inner."), value) for name, value in weights(model)])
    report = check(model, net, ids())
    assert report.verdict is Verdict.PASS, named(report)


def test_what_has_no_twin_is_listed() -> None:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.blocks, self.head = nn.Embedding(11, 16), [Block(), Block()], nn.Linear(16, 11)
            self.dropout = nn.Dropout(0.0)

        __call__ = Net.__call__

    model = reference()
    net = Sparse()
    net.load_weights(weights(model))
    report = check(model, net, ids())
    assert report.stages[0].unpaired == ["dropout: of the port alone"]


def test_an_exception_names_where_it_was_raised() -> None:
    class Broken(Net):
        def __call__(self, ids: mx.array) -> Any:
            raise RuntimeError("not ported yet")

    model = reference()
    report = check(model, port(model, Broken), ids())
    assert report.verdict is Verdict.DIVERGED
    assert "not ported yet" in report.culprits[0].evidence[0]


def test_torch_beside_torch_and_mlx_beside_mlx() -> None:
    model = reference()
    half = reference().to(torch.bfloat16)
    assert check(model, half, ids()).verdict is Verdict.PASS
    assert check(port(model), port(model), ids()).verdict is Verdict.PASS
    report = check(port(model), port(model, activation=nn.gelu_approx), ids())
    assert named(report) == [("blocks.1", "glue")]


def test_a_pipeline_says_which_stage_is_wrong() -> None:
    model = reference()
    wrong = port(model, activation=nn.gelu_approx)

    def stages(first: Net, second: Net) -> list[Port]:
        def embed(side: Any, given: Any) -> Any:
            return {"x": side.module.embed(side.plain(given["ids"]))}

        def blocks(side: Any, given: Any) -> Any:
            x = side.array(given["x"])
            for block in side.module.blocks:
                x = block(x)
            return x

        return [
            Port("embedding", model, first, embed, needs=["ids"], gives=["x"]),
            Port("blocks", model, second, blocks, needs=["x"]),
        ]

    report = Pipeline(stages(port(model), wrong)).run({"ids": ids()})
    assert [stage.verdict for stage in report.stages] == [Verdict.PASS, Verdict.DIVERGED]
    assert named(report) == [("blocks.1", "glue")]

"""The one way of stepping between a module and its callers, the same for both frameworks."""

from __future__ import annotations

import gc
import inspect
import weakref
from typing import Any

import mlx.core as mx
import mlx.nn
import pytest
import torch

from mlx_parity.intercept import ModuleCall, intercepted


class Torch(torch.nn.Module):
    def forward(self, x: Any, scale: float = 1.0) -> Any:
        return x * scale


class MLX(mlx.nn.Module):
    def __call__(self, x: Any, scale: float = 1.0) -> Any:
        return x * scale


@pytest.mark.parametrize("module", [Torch(), MLX()])
def test_arguments_and_outputs_can_be_replaced(module: Any) -> None:
    number = torch.tensor(2.0) if isinstance(module, Torch) else mx.array(2.0)
    cls = type(module)

    def answer(call: ModuleCall) -> Any:
        assert (call.path, call.module, type(call.module)) == ("a.b", module, cls)
        first = call.run()
        call.kwargs = {"scale": 5.0}
        return first + call.run()

    with intercepted({"a.b": module}, answer):
        assert float(module(number, scale=3.0)) == 2 * 3 + 2 * 5
        assert isinstance(module, cls)
    assert type(module) is cls
    assert float(module(number)) == 2


@pytest.mark.parametrize("module", [Torch(), MLX()])
def test_contexts_nest_and_end_with_an_exception(module: Any) -> None:
    cls, order = type(module), []

    def noting(name: str) -> Any:
        def answer(call: ModuleCall) -> Any:
            order.append(name)
            return call.run()

        return answer

    with intercepted({"": module}, noting("inner")), intercepted({"": module}, noting("outer")):
        module(torch.zeros(1) if cls is Torch else mx.zeros(1))
        with pytest.raises(TypeError):
            module()
        order.append("end")
        assert type(module) is not cls
    assert order == ["outer", "inner", "outer", "inner", "end"]
    assert type(module) is cls


def test_another_method_and_its_parameters() -> None:
    class Network:
        def inference(self, x: int, *, final: bool) -> int:
            return x + final

    network = Network()
    with intercepted({"net": network}, lambda call: -call.run(), "inference"):
        assert network.inference(3, final=True) == -4
        assert list(inspect.signature(type(network).inference).parameters) == ["self", "x", "final"]
    assert network.inference(3, final=True) == 4


@pytest.mark.parametrize("cls", [Torch, MLX])
def test_nothing_is_kept_of_a_context_that_has_ended(cls: type) -> None:
    """Not even until cycles are collected: a network and all that it made may be gigabytes."""

    class Held:
        pass

    held = Held()
    gone = weakref.ref(held)

    def answer(call: ModuleCall, held: Held = held) -> Any:
        return held

    gc.disable()
    try:
        with intercepted({"": cls()}, answer):
            pass
        del held, answer
        assert gone() is None
    finally:
        gc.enable()

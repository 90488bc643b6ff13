"""Layers of the reference that stay float32 within half precision, as those of the model under test do."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


def in_half(network: nn.Module, dtype: torch.dtype, kept: Iterable[str]) -> nn.Module:
    """A copy of a float32 network in `dtype`, but for the layers of the paths `kept`.

    What these are given is cast to float32, and what they give to the dtype of what they were given first, or `dtype`.
    """
    half = copy.deepcopy(network).to(dtype)
    for path in kept:
        layer = half.get_submodule(path).float()
        layer.load_state_dict(network.get_submodule(path).state_dict())
        dtypes: list[torch.dtype] = []  # a layer that is called within itself would need more than one

        def widen(layer: nn.Module, args: Any, kwargs: Any, dtypes: list[torch.dtype] = dtypes) -> Any:
            given = [value.dtype for value in (*args, *kwargs.values()) if _is_float(value)]
            dtypes[:] = given[:1] or [dtype]
            own = next(layer.parameters()).dtype  # or what it was cast to later
            return _cast(args, own), {name: _cast(value, own) for name, value in kwargs.items()}

        def narrow(layer: nn.Module, args: Any, output: Any, dtypes: list[torch.dtype] = dtypes) -> Any:
            return _cast(output, dtypes[0])

        layer.register_forward_pre_hook(widen, with_kwargs=True)
        layer.register_forward_hook(narrow)
    return half


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(_cast(item, dtype) for item in value)
    return value.to(dtype) if _is_float(value) else value

"""The convolutions of a causal vocoder, each of which goes on from what it has kept of the piece before, and the
modules that run some of them on frames that they are given.

The reference runs them once over the whole. A model that runs in pieces gets, where it is isolated, for every call of a
convolution the reference's frames whose turn it is, and the same of what comes out: so each shows its own error, and
what stands between them shows in what they are called with.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from mlx_parity.intercept import ModuleCall, intercepted
from mlx_parity.sides import Side
from parity.stages.base import Outputs


class Seam(NamedTuple):
    """What went into a module, and what came out: [B, C, T], or f0 [B, T], of the whole or of all pieces so far."""

    incoming: np.ndarray
    outgoing: np.ndarray


#: By path.
Seams = Mapping[str, Seam]


ROOT = "hift"
#: What is compared of a causal vocoder as a whole, named as its `outputs` are.
F0, WAV = f"glue {ROOT}.f0_predictor f0", f"glue {ROOT} wav"
#: Classes of the modules around convolutions; within these no layer changes the number of frames.
AROUND = ("ResBlock", "CausalConvRNNF0Predictor")


def _convolutions(side: Side, network: Any) -> dict[str, Any]:
    import torch

    from mlx_cosyvoice import nn

    kinds = nn.Conv1d, torch.nn.Conv1d
    named = side.holding(network).modules()
    return {
        f"{ROOT}.{path}": module
        for path, module in named.items()
        if isinstance(module, kinds) or type(module).__name__ in AROUND
    }


def owner_of(output: str) -> tuple[str, str]:
    """The module that made one of the `outputs`, and what is wrong there if that is."""
    kind, module, *_ = output.split(" ")
    return module, kind


def outputs(side: Side, network: Any, seams: Seams, followed: Mapping[str, bool]) -> Outputs:
    """What is compared of them. `followed`: were they shown the right frames ahead, and given what they had left?"""
    modules, made = side.holding(network).modules(), Outputs()
    for path, (incoming, outgoing) in seams.items():
        inside = path.removeprefix(f"{ROOT}.")
        caller = f"glue {_caller(inside, modules)} {path}"
        made.tensors[caller] = incoming
        has_parts = any(other.startswith(f"{inside}.") for other in modules)
        made.tensors[f"{'glue' if has_parts else 'leaf'} {path}"] = outgoing
        made.tokens[f"{caller} ahead"] = np.array([[followed.get(path, True)]], np.int64)
    return made


def _caller(path: str, modules: Mapping[str, Any]) -> str:
    """The module that calls the one at a path: a list of layers is none."""
    names = path.split(".")[:-1]
    while names and type(modules.get(".".join(names))).__name__ in ("NoneType", "Sequential", "ModuleList"):
        names.pop()
    return ".".join([ROOT, *names])


def with_others(outputs: Outputs, others: Outputs) -> Outputs:
    """Two outputs in one."""
    return replace(outputs, tensors=outputs.tensors | others.tensors, tokens=outputs.tokens | others.tokens)


@dataclass
class Watched:
    """Notes the calls of convolutions; where `right` has them, feeds them."""

    side: Side
    right: Seams
    seen: dict[str, list[Seam]] = field(default_factory=dict)
    followed: dict[str, bool] = field(default_factory=dict)
    forgetting: bool = False

    @property
    def seams(self) -> dict[str, Seam]:
        """Of all pieces together."""
        return {
            path: Seam(*(np.concatenate(parts, axis=-1) for parts in zip(*pieces, strict=True)))
            for path, pieces in self.seen.items()
        }

    def __call__(self, call: ModuleCall) -> Any:
        if self.forgetting:
            return call.run()
        side, module, pieces = self.side, call.module, self.seen.setdefault(call.path, [])
        incoming = side.noted(module, call.args[0], incoming=True)
        begin, made_before = (sum(part[which].shape[-1] for part in pieces) for which in (0, 1))
        right = self.right.get(call.path)
        if right is not None:
            call.args = self._fed(call, right.incoming, begin, begin + incoming.shape[-1])
        # what goes on from nothing is wrong within, and its caller is to blame
        self.forgetting = right is not None and bool(pieces) and not handed_on(call)
        try:
            made = call.run()
        finally:
            forgot, self.forgetting = self.forgetting, False
        outgoing = side.noted(module, made)
        if right is None:
            pieces.append(Seam(incoming, outgoing))
            return made
        part = right.outgoing[..., made_before : made_before + outgoing.shape[-1]]
        self.followed[call.path] = self.followed.get(call.path, True) and not forgot
        pieces.append(Seam(incoming, part if forgot else outgoing))
        if forgot:
            self._excuse(call.path, begin, begin + incoming.shape[-1])
        return side.fed(module, made, part) if part.shape == outgoing.shape else made

    def _excuse(self, path: str, begin: int, end: int) -> None:
        """Note of the modules within one, all of whose frames are its own, what they do when they are right."""
        for inner, (incoming, outgoing) in self.right.items():
            if inner.startswith(f"{path}."):
                part = Seam(incoming[..., begin:end], outgoing[..., begin:end])
                self.seen.setdefault(inner, []).append(part)

    def _fed(self, call: ModuleCall, whole: np.ndarray, begin: int, end: int) -> tuple[Any, ...]:
        """The arguments with frames `begin` to `end` of the whole in place of its own, and with those that follow."""
        own, *others = call.args
        if end > whole.shape[2]:
            return call.args
        fed = self.side.fed(call.module, own, whole[:, :, begin:end], incoming=True)
        ahead = whole[:, :, end : end + getattr(call.module, "reach", 0)]
        if ahead.size:
            shown = self.side.noted(call.module, others[0], incoming=True) if others and others[0] is not None else None
            # other frames are looked for, not what rounding to half precision does
            right = shown is not None and shown.shape == ahead.shape and np.allclose(shown, ahead, 1e-2, 1e-2)
            self.followed[call.path] = self.followed.get(call.path, True) and right
            others[:1] = [self.side.fed(call.module, own, ahead, incoming=True)]
        return fed, *others


def handed_on(call: ModuleCall) -> bool:
    """Whether a module that goes on from a cache was given one; so was any other."""
    names = [*inspect.signature(type(call.module).__call__).parameters][1:]
    return "cache" not in names or {**dict(zip(names, call.args, strict=False)), **call.kwargs}.get("cache") is not None


@contextmanager
def watched(
    side: Side, network: Any, right: Seams = MappingProxyType({}), before: Watched | None = None
) -> Iterator[Watched]:
    """Watch the convolutions of a vocoder, if it is causal and fed, or the reference whose seams others are fed.

    With `before`, go on with what was watched before.
    """
    watching = before or Watched(side, right)
    feeding = side.name == "pytorch" and side.dtype != "float64"
    watch = network.causal and (right or feeding)
    with intercepted(_convolutions(side, network) if watch else {}, watching):
        yield watching


def exactly(side: Side, network: Any, seams: Seams) -> dict[str, Seam]:
    """The seams of a network in float64, each of whose convolutions gets what it got in another one."""
    modules = _convolutions(side, network)
    return {
        path: Seam(seam.incoming, side.numpy(modules[path](side.array(seam.incoming)))) for path, seam in seams.items()
    }

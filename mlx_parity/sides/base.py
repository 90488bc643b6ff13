"""A framework and a module in it: what a stage's call is written against, once for both sides."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import numpy as np


class Side(ABC):
    """A framework, and the module of a stage in it (whatever runs the stage; None where functions do).

    Arrays outside of a side are NumPy's, in the reference's layout. `channels_first` says of an array that its three
    axes are [batch, channels, time] there; other arrays are laid out alike everywhere.
    """

    name: ClassVar[str]
    #: The type of the framework's arrays.
    array_type: ClassVar[type]

    def __init__(self, module: Any, dtype: str = "float32") -> None:
        """`dtype` is what the side works in, a name."""
        self.module, self.dtype = module, dtype
        self._twins: Mapping[str, str] | None = None
        self._layouts: dict[Any, Any] | None = None

    @property
    def exact(self) -> bool:
        """Whether it works in float64: what others are measured by, and the order of whose sums makes no difference."""
        return self.dtype == "float64"

    def holding(self, module: Any, dtype: str | None = None) -> Side:
        """The side with another module, or in another dtype."""
        return type(self)(module, dtype or self.dtype)

    def paired(self, twins: Mapping[str, str], layouts: dict[Any, Any] | None = None) -> Side:
        """The side with its modules under other names, and with layouts that are found and not declared.

        Args:
            twins: path in the reference -> path here.
            layouts: where what was found is noted, for whoever else runs the side; None: nothing is to be found.
        """
        side = copy.copy(self)
        side._twins, side._layouts = twins, layouts
        return side

    def modules(self) -> dict[str, Any]:
        """Path -> every module within the side's own that can be called; none where that is no network."""
        named: Iterable[tuple[str, Any]] = getattr(self.module, "named_modules", tuple)()
        called = {path: module for path, module in named if path and self.is_called(path, module)}
        if self._twins is None:
            return called
        return {path: called[twin] for path, twin in self._twins.items()}

    def kind(self, module: Any) -> str:
        """What a module's type is called."""
        return type(module).__name__

    @classmethod
    @abstractmethod
    def dtype_of(cls, module: Any) -> str:
        """The name of the dtype that most of a module's weights have."""

    @abstractmethod
    def converted(self, dtype: str) -> Side:
        """The side with a copy of its module in another dtype; itself where that is its own."""

    @abstractmethod
    def holding_weights(self, weights: Mapping[str, np.ndarray]) -> Side:
        """The side with a copy of its module in which the modules of these paths have other weights."""

    def packed(self, weight: np.ndarray, module: Any) -> np.ndarray:
        """What packing leaves of a weight, for a module whose weight is packed; else the weight."""
        return weight

    def is_packed(self, module: Any) -> bool:
        """Whether a module's weight is packed into few bits."""
        return False

    @abstractmethod
    def parameters(self, module: Any) -> dict[str, np.ndarray]:
        """The arrays of floats that a module stores itself, by name; its parts' are theirs."""

    def is_called(self, path: str, module: Any) -> bool:
        """Whether a named module computes activations."""
        return True

    def exempt(self) -> dict[str, str]:
        """Paths of the reference that this port leaves out on purpose -> why."""
        return {}

    def running(self) -> AbstractContextManager[Any]:
        """In which the side is run."""
        return nullcontext()

    def is_array(self, value: Any) -> bool:
        """Whether a value is one of the framework's arrays, or NumPy's."""
        return isinstance(value, (self.array_type, np.ndarray))

    def spelled_out(self, value: Any, like: Any) -> Any:
        """An argument; of a word that stands for an array the array, unless it says what the other side's does."""
        return value

    @abstractmethod
    def is_float(self, array: Any) -> bool:
        """Whether an array of the framework holds floats."""

    @abstractmethod
    def array(self, value: np.ndarray, *, channels_first: bool = False) -> Any:
        """An array of the framework, floats in the dtype that the side works in."""

    @abstractmethod
    def plain(self, value: np.ndarray) -> Any:
        """The same as it is: dtype and layout stay."""

    @abstractmethod
    def numpy(self, array: Any, *, channels_first: bool = False) -> np.ndarray:
        """A result of the framework in the reference's layout; floats as float32 or finer."""

    @abstractmethod
    def parameters_of(self, module: Any) -> Callable[..., Any]:
        """The function whose parameters, but for the first, are those of a module's call."""

    @abstractmethod
    def noted(self, module: Any, array: Any, *, incoming: bool = False, like: np.ndarray | None = None) -> np.ndarray:
        """A copy, in the layout of the reference's twin, of what a module returned or (`incoming`) was called with.

        `like` is what the twin returned or was called with, where that is known.
        """

    @abstractmethod
    def fed(self, module: Any, own: Any, value: np.ndarray, *, incoming: bool = False) -> Any:
        """The reverse: what was noted on the other side, to stand in for `own` (None if there is none)."""

    def states(self, arguments: Mapping[str, Any]) -> list[Any]:
        """Those of a call's arguments that carry something from one call of the module to the next."""
        return []

    def taken_up(self, state: Any) -> tuple[Any, ...]:
        """The arrays that a call went on from, in a state that it got."""
        return ()

    def left(self, state: Any) -> tuple[Any, ...]:
        """The arrays that it left there."""
        return ()

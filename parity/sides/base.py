"""A framework and a module in it: what a stage's call is written against, once for both sides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np


class Side(ABC):
    """A framework, and the module of a stage in it (whatever runs the stage; None where functions do).

    Arrays outside of a side are NumPy's, in the official layout. `channels_first` says of an array that its three axes
    are [batch, channels, time] there; other arrays are laid out alike everywhere.
    """

    name: ClassVar[str]
    #: The method by which users run a whole network of this side.
    entry: ClassVar[str]
    #: What the side works in, as its framework has it.
    dtype: Any
    #: Whether that is float64: what others are measured by, and the order of whose sums makes no difference.
    exact = False

    def __init__(self, module: Any) -> None:
        self.module = module

    def holding(self, module: Any) -> Side:
        """The side with another module."""
        kind: Any = type(self)
        return kind(module, self.dtype)

    def modules(self) -> dict[str, Any]:
        """Path -> every module within the side's own that can be called; none where that is no network."""
        named: Iterable[tuple[str, Any]] = getattr(self.module, "named_modules", tuple)()
        return {path: module for path, module in named if path and self.is_called(path, module)}

    def is_called(self, path: str, module: Any) -> bool:
        """Whether a named module computes activations."""
        return True

    @abstractmethod
    def array(self, value: np.ndarray, *, channels_first: bool = False) -> Any:
        """An array of the framework, floats in the dtype that the side works in."""

    @abstractmethod
    def plain(self, value: np.ndarray) -> Any:
        """The same as it is: dtype and layout stay."""

    @abstractmethod
    def ids(self, value: np.ndarray) -> Any:
        """Token ids [1, N] as the language model wants them."""

    @abstractmethod
    def official(self, array: Any, *, channels_first: bool = False) -> np.ndarray:
        """A result of the framework in the official layout; floats as float32 or finer."""

    @abstractmethod
    def parameters_of(self, module: Any) -> Callable[..., Any]:
        """The function whose parameters, but for the first, are those of a module's call."""

    @abstractmethod
    def noted(self, module: Any, array: Any, *, incoming: bool = False) -> np.ndarray:
        """A copy, in the layout of the official twin, of what a module returned or (`incoming`) was called with."""

    @abstractmethod
    def fed(self, module: Any, own: Any, value: np.ndarray, *, incoming: bool = False) -> Any:
        """The reverse: what was noted on the other side, to stand in for `own` (None if there is none)."""

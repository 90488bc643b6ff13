"""Where in a model an exception was raised."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlx_parity import intercept
from mlx_parity.sides import Side


class PartRaisedError(Exception):
    """What a part of a loop raised, which is the cause of this. `part` is its path."""

    def __init__(self, part: str, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.part = part


@contextmanager
def part(path: str) -> Iterator[None]:
    """Whatever is raised within is this part's.

    Raises:
        PartRaisedError: of any exception.
    """
    try:
        yield
    except Exception as error:
        raise PartRaisedError(path, error) from error


def networks_of(side: Side, component: str) -> dict[str, Any]:
    """The component's module, or those that a loop runs, by name."""
    return getattr(side.module, "_asdict", lambda: {component: side.module})()


def raised_in(side: Side, component: str, error: Exception) -> str:
    """The path of the innermost module that was running; "" if it was none.

    Args:
        side: with the component's module, or with several by name.
        component: its name.
        error: as it was caught.
    """
    paths = {
        id(module): f"{name}.{path}" if path else name
        for name, network in networks_of(side, component).items()
        for path, module in getattr(network, "named_modules", tuple)()
    }
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    # one that stops a call on its way has the module, which may not have been entered
    owners = [id(frame.f_locals.get("self")) for frame in frames if frame.f_code.co_filename != intercept.__file__]
    return next((paths[owner] for owner in reversed(owners) if owner in paths), "")

"""Where in a model an exception was raised."""

from __future__ import annotations

import traceback
from typing import Any

from parity.sides import Side


def raised_in(side: Side, component: str, error: Exception) -> str:
    """The path of the innermost module that was running; "" if it was none.

    Args:
        side: with the component's module, or with several by name.
        component: its name.
        error: as it was caught.
    """
    networks: dict[str, Any] = getattr(side.module, "_asdict", lambda: {component: side.module})()
    paths = {
        id(module): f"{name}.{path}" if path else name
        for name, network in networks.items()
        for path, module in getattr(network, "named_modules", tuple)()
    }
    owners = [id(frame.f_locals.get("self")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((paths[owner] for owner in reversed(owners) if owner in paths), "")

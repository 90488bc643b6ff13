"""A catalogue of porting mistakes, each of which can be switched on in a live MLX model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parity.faults import cosyvoice2, cosyvoice3
from parity.faults.base import Fault

#: Those of each family, in data-flow order of their stages. What CosyVoice3 has in common with CosyVoice2 is tried
#: there alone.
FAULTS: Mapping[str, tuple[Fault, ...]] = {"cosyvoice2": cosyvoice2.FAULTS, "cosyvoice3": cosyvoice3.FAULTS}

__all__ = ["FAULTS", "Fault", "choose"]


def choose(names: Sequence[str] | None, family: str = "cosyvoice2") -> list[Fault]:
    """The faults of these names in the catalogue's order; None for all.

    Raises:
        ValueError: a family, or a name, that is not in the catalogue.
    """
    if family not in FAULTS:
        raise ValueError(f"no faults of the family {family}; there are those of: {', '.join(FAULTS)}")
    faults = FAULTS[family]
    unknown = sorted(set(names or ()) - {fault.name for fault in faults})
    if unknown:
        known = ", ".join(fault.name for fault in faults)
        raise ValueError(f"no such fault: {', '.join(unknown)}; there are: {known}")
    return [fault for fault in faults if names is None or fault.name in names]

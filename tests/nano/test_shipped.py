"""The nano checkpoint that is shipped: whole, small, and of the sizes that the recipe has."""

from __future__ import annotations

from pathlib import Path

import pytest

from reference.families import COSYVOICE2
from reference.nano.sizes import NANO
from tests.support.process import ROOT

FOLDER: Path = ROOT / "assets/nano"


@pytest.mark.parametrize("name", list(COSYVOICE2.networks))
def test_a_component_loads(name: str) -> None:
    network = COSYVOICE2.networks[name]
    network.load(FOLDER / network.file, NANO[name])


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 32 << 20

"""What docs/porting.md shows is what the command prints."""

from __future__ import annotations

import re

import pytest

from tests.mlx_parity.test_captures import EXAMPLE, cli
from tests.support.process import ROOT

PAGE = (ROOT / "docs" / "porting.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("activation", "0 passes a wrong value as the input of 0.conv"),
        ("eps", "its constant `eps` is 1e-05, the reference's is 0.001"),
        ("residual", "0 (glue): its parts are right, what it does between them is not"),
    ],
)
def test_a_planted_mistake_is_named(fault: str, line: str) -> None:
    result = cli("run", EXAMPLE, "--layers", "none", fault=fault)
    assert result.returncode == 1, result.stderr
    assert line in result.stdout
    assert "the same in 1" in result.stdout


def test_the_page_shows_what_is_printed() -> None:
    shown = re.search(r"verdict: DIVERGED, .*?(?=```)", PAGE, re.S)
    assert shown
    printed = _without_numbers(cli("run", EXAMPLE, "--layers", "none", fault="activation").stdout)
    parts = [part for line in shown[0].splitlines() for part in line.split(", ...; ")]
    for part in parts:
        assert _without_numbers(part) in printed


def _without_numbers(text: str) -> str:
    """Numbers differ from machine to machine, and lines break where the terminal ends."""
    return re.sub(r"\b\d[\d.e+]*", "#", " ".join(text.split()))


def test_the_port_as_it_is_passes() -> None:
    result = cli("run", EXAMPLE, "--layers", "none")
    assert result.returncode == 0, result.stdout

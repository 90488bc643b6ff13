"""In pytest a port that is wrong fails its test in the words of the report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.nn as nn
import pytest

from mlx_parity import RunReport, Verdict
from mlx_parity.pytest_plugin import assert_parity, check_parity  # noqa: F401  (a fixture, found by its name)
from tests.mlx_parity.models import ids, port, reference


def test_a_right_port_gives_its_report(check_parity: Callable[..., RunReport]) -> None:  # noqa: F811
    model = reference()
    assert check_parity(model, port(model), ids()).verdict is Verdict.PASS


def test_a_wrong_port_fails_and_the_culprit_is_named(check_parity: Callable[..., Any]) -> None:  # noqa: F811
    model = reference()
    with pytest.raises(pytest.fail.Exception) as raised:
        check_parity(model, port(model, activation=nn.gelu_approx), ids())
    assert "blocks.1 passes a wrong value as the input of blocks.1.conv" in str(raised.value)


def test_a_run_without_stages_does_not_pass() -> None:
    with pytest.raises(pytest.fail.Exception, match="inconclusive"):
        assert_parity(RunReport([]))

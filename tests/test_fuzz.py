"""Every reader on mutated files: it reads them, or refuses them in a line. `make fuzz` does the same for longer."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import __main__ as fuzz
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS, attempt


def test_every_reader_is_fuzzed() -> None:
    assert set(fuzz.NAMES) == set(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_the_seed_is_read(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert attempt(TARGETS[name], TARGETS[name].seed(), tmp_path_factory.mktemp("seed")) is None


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_damaged_is_read_or_refused(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    target, folder = TARGETS[name], tmp_path_factory.mktemp("fuzz")

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32))
    def damage(number: int) -> None:
        attempt(target, mutated(target.seed(), Random(number)), folder)

    damage()


@pytest.mark.parametrize("name", ["yaml", "pt-pickle", "speakers-pickle", "campplus", "merges"])
def test_any_bytes_are_read_or_refused(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    target, folder = TARGETS[name], tmp_path_factory.mktemp("fuzz")

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=80))
    def garbage(content: bytes) -> None:
        attempt(target, content, folder)

    garbage()

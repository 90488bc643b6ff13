"""No line of the networks is left that no stage runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mlx_cosyvoice.families import COSYVOICE2
from mlx_cosyvoice.flow.embedding import positions
from parity.coverage import NETWORKS, Coverage, watched_lines
from parity.inputs import load_inputs
from parity.pair import load_pair
from parity.run import run
from parity.stages import Settings, compared_in
from parity.stages.base import STREAMING

#: Functions in the networks' files that no stage runs -> why.
APART = {
    **dict.fromkeys(
        ("uniforms", "_from_key", "__next__", "from_key"), "draws of the product's own; a run has a tape's"
    ),
    **dict.fromkeys(("trim", "nbytes", "candidates"), "for users"),
    **dict.fromkeys(
        ("new_text_before_speech", "begun"), "by which the product decides on the order of text and speech"
    ),
    "starting_noise": "of which only the refusal is left",
}


def test_a_table_made_before_hides_no_line() -> None:
    positions(8, 4)
    with watched_lines() as coverage:
        positions(8, 4)
    assert "positions" not in coverage.missed["flow/embedding.py"].values()


def test_networks_of_other_families_are_left_out() -> None:
    coverage = Coverage()
    coverage.missed = {f"flow/{name}.py": {1: "f"} for name in ("encoder", "cfm", "dit", "rotary")}
    coverage.missed["llm/sampling.py"] = {1: "f"}  # no network refers to it
    assert list(coverage.missed_of(COSYVOICE2)) == ["flow/encoder.py", "flow/cfm.py", "llm/sampling.py"]
    flow = replace(COSYVOICE2["flow"], network="mlx_cosyvoice.flow:CausalMaskedDiffWithDiT")
    other = replace(COSYVOICE2, components=(COSYVOICE2["llm"], flow))
    assert list(coverage.missed_of(other)) == ["flow/cfm.py", "flow/dit.py", "flow/rotary.py", "llm/sampling.py"]


@pytest.mark.slow
def test_every_line_of_the_networks_is_run(tiny_checkpoint: Path, tiny_model: Path) -> None:
    with watched_lines() as coverage:
        pair = load_pair(tiny_checkpoint, tiny_model)
        for streaming in (None, *STREAMING):
            chosen = [stage.name for stage in compared_in(streaming)]
            run(pair, load_inputs(), stages=chosen, settings=Settings(streaming=streaming))
    missed = {
        f"{file}:{line} in {function}"
        for file, lines in coverage.missed_of(pair.model.family).items()
        for line, function in lines.items()
        if file.partition("/")[0] in NETWORKS and function not in APART
    }
    assert not missed

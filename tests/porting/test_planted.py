"""Faults that are planted into copies of public ports are found, and named where they are."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from mlx_parity.findings import Culprit, RunReport, StageReport
from tests.support.process import ROOT

NEEDS = "the zoo needs mlx-lm and transformers, which need Python 3.11: pip install '.[zoo]'"
pytest.importorskip("mlx_lm", reason=NEEDS)
pytest.importorskip("transformers", reason=NEEDS)

from examples.porting.faults import PORTS, EditError, Fault, Trial, accepted, edited, in_place_of  # noqa: E402
from examples.porting.planted import chosen, tried  # noqa: E402

EVERY = {fault.name: fault for port in PORTS.values() for fault in (*port.faults, *port.later)}


def trial(expected: tuple[str, ...], *modules: str, stage: str = "net", port: str = "net") -> Trial:
    """A port in which these modules are blamed."""
    report = RunReport(
        [StageReport(stage, stage, "float32", culprits=[Culprit(one, "glue", stage, one) for one in modules])]
    )
    return Trial(port, Fault("some", "", (), expected), report)


@pytest.mark.parametrize(
    ("expected", "modules", "named"),
    [
        (("layers.*.attn",), ("layers.0.attn", "layers.1.attn"), "exact"),
        (("layers.[01].attn",), ("layers.2.attn",), "no"),
        (("layers.*.attn",), ("layers.0.attn", "layers.1"), "parent"),
        (("layers.*.attn",), ("net",), "parent"),
        (("layers.*",), ("layers.0.attn",), "no"),
        (("layers.*.attn",), ("layers.0.attn", "norm"), "no"),
        (("q", "k"), ("q",), "no"),
        (("net",), ("net",), "exact"),
        (("net",), (), "no"),
    ],
)
def test_how_well_a_fault_is_named(expected: tuple[str, ...], modules: tuple[str, ...], named: str) -> None:
    assert trial(expected, *modules).named == named


def test_a_module_of_one_stage_is_none_of_another() -> None:
    for expected, named in (("decoder/conv", "exact"), ("encoder/conv", "no"), ("decoder/conv.weight", "parent")):
        assert trial((expected,), "conv", stage="decoder", port="whisper").named == named
    assert trial(("decoder",), "decoder", stage="decoder", port="whisper").named == "exact"


def test_nine_of_ten_must_be_named_and_all_found() -> None:
    right, wrong, missed = trial(("q",), "q"), trial(("q",), "k"), trial(("q",))
    assert accepted([right] * 9 + [wrong])
    assert not accepted([right] * 8 + [wrong])
    assert not accepted([right] * 9 + [missed])
    healthy = Trial("net", None, RunReport([]))
    assert not accepted([right] * 10 + [healthy])  # of which nothing was seen


def test_what_is_to_be_replaced_stands_there_once() -> None:
    assert edited("a + b", [("a", "c"), ("c + b", "d")]) == "d"
    for source in ("b", "a + a"):
        with pytest.raises(EditError, match=r"'a' stands there [02] times"):
            edited(source, [("a", "c")])


def test_the_installed_package_stays_as_it_is() -> None:
    import mlx_lm.models.phi as installed

    with in_place_of("mlx_lm.models.phi", [("nn.gelu_approx", "nn.silu")]):
        copy = importlib.import_module("mlx_lm.models.phi")
        assert copy is not installed
        assert copy.PhiMLP.__module__ == "mlx_lm.models.phi"
    assert importlib.import_module("mlx_lm.models.phi") is installed
    assert "nn.silu" not in Path(installed.__file__).read_text()


def test_faults_are_chosen_by_their_names_or_their_ports() -> None:
    assert len(EVERY) == sum(len(port.faults) + len(port.later) for port in PORTS.values())
    assert sum(len(port.faults) for port in PORTS.values()) == 30
    some = chosen(["phi", "norm-eps"])
    assert {name: len(faults) for name, faults in some.items()} == {"phi": 7, "mixtral": 1}
    with pytest.raises(ValueError, match="no such fault or port: norm-epsilon; there are audio-cut, "):
        chosen(["norm-epsilon"])


def test_two_faults_are_found_and_named() -> None:
    healthy, *faulty = tried("mixtral", [EVERY["norm-eps"], EVERY["weight-rounded"]])
    assert healthy.healthy
    assert [(one.name, one.found, one.named) for one in faulty] == [
        ("norm-eps", True, "exact"),
        ("weight-rounded", True, "exact"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("architecture", PORTS)
def test_all_faults_of_a_port_are_found_and_named(architecture: str) -> None:
    if architecture == "whisper" and importlib.util.find_spec("mlx_whisper") is None:
        pytest.skip("mlx-whisper is not installed: pip install --no-deps mlx-whisper==0.4.3")
    healthy, *faulty = tried(architecture, chosen([architecture])[architecture])
    assert healthy.healthy, healthy.culprits
    assert [one.name for one in faulty if not one.found] == []
    missed = [one.name for one in faulty if one.fault and one.fault.missed]
    assert {one.name: one.culprits for one in faulty if one.named != "exact" and one.name not in missed} == {}


@pytest.mark.slow
def test_the_command_prints_a_table_and_the_counts(tmp_path: Path) -> None:
    script, file = ROOT / "examples" / "porting" / "planted.py", tmp_path / "planted.md"
    result = subprocess.run(
        [sys.executable, str(script), "norm-eps", "--json", "found.json", "--markdown", str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 faults: 1 found, 1 named exactly" in result.stdout.splitlines()[-1]
    assert '"named": "exact"' in (tmp_path / "found.json").read_text()
    assert "| mixtral | norm-eps |" in file.read_text()

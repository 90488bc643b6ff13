"""The benchmark: what it measures, in which order, and what it says when a side fails."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from parity.__main__ import main
from parity.bench import cases, charts, side_torch, suite, table
from parity.bench.flops import counted
from parity.bench.jobs import timed
from parity.bench.measure import Result, alternate, difference, measure, summary
from parity.bench.processes import IDLE, THREAD_VARIABLES, Worker, WorkerError, environment
from parity.bench.side_mlx import Side
from parity.bench.side_torch import drop_text_head
from parity.bench.streaming import streaming_ratios
from parity.bench.suite import NAMES, Options, chosen_cases
from reference.llm import build as build_llm
from reference.synthetic.sizes import FULL, SIZES3, TINY

#: What the one run of the command measures.
STAGES = ("llm_prefill", "llm_decode_lean", "hops", "voice_prefill", "conversion")

LIMITS = {"matmul_flops": 1e9, "read_bytes": 1e9}


class Recorder:
    """Stands in for a worker; writes down who was asked; its times are arguments."""

    def __init__(self, side: str, log: list[str], seconds: list[float]) -> None:
        self.side, self.log, self.seconds = side, log, iter(seconds)

    def ask(self, what: str, **_: Any) -> dict[str, Any]:
        self.log.append(f"{self.side} {what}")
        return {"seconds": next(self.seconds), "cpu_seconds": 1.0, "laps": [], "numbers": {}}


def result(mlx: list[float], pytorch: list[float]) -> Result:
    case = cases.Case("flow", "Flow", "flow", "flow", audio_seconds=2.0)
    log: list[str] = []
    runs = alternate({"mlx": Recorder("mlx", log, mlx), "pytorch": Recorder("pytorch", log, pytorch)}, len(mlx))
    sizes = {"peak_bytes": 3, "resident_bytes": 2}
    sides = ("mlx", "pytorch")
    loads = {side: {"seconds": 1.0, **sizes} for side in sides}
    return Result(case, runs, loads=loads, memory=dict.fromkeys(sides, sizes), flops=10**9)


def test_sides_take_turns() -> None:
    log: list[str] = []
    workers = {side: Recorder(side, log, [1.0, 2.0, 3.0]) for side in ("mlx", "pytorch")}
    runs = alternate(workers, 3)
    assert log == ["mlx run", "pytorch run"] * 3
    assert [run["seconds"] for run in runs["pytorch"]] == [1.0, 2.0, 3.0]


def test_ratio_is_of_medians() -> None:
    measured = result([1.0, 100.0, 2.0], [5.0, 8.0, 1000.0])
    data = measured.to_dict(LIMITS)
    assert measured.ratio() == data["ratio"] == 0.25
    assert data["ratio_of_fastest"] == 1 / 5
    assert data["sides"]["mlx"]["seconds"] == {"median": 2.0, "min": 1.0, "max": 100.0, "samples": [1.0, 100.0, 2.0]}


def test_rates_follow_from_the_median() -> None:
    side = result([1.0, 100.0, 2.0], [4.0, 8.0, 1000.0]).to_dict(LIMITS)["sides"]["mlx"]
    assert side["real_time_factor"] == 1.0
    assert side["flops_per_second"] == 5e8
    assert side["share_of_matmul_limit"] == 0.5


def test_no_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="no median for empty data"):
        summary([])


def test_both_sides_get_the_same_threads_and_rest_while_they_wait() -> None:
    variables = environment(3)
    assert {variables[name] for name in THREAD_VARIABLES} == {"3"}
    assert variables["OMP_WAIT_POLICY"] == "PASSIVE"
    assert IDLE.items() <= variables.items()


def test_operations_are_counted_by_hand_too() -> None:
    """The prompt of the tiny language model, counted on paper."""
    config, positions = TINY["llm"], 11
    qwen = config["qwen"]
    hidden, inner, heads = qwen["hidden_size"], qwen["intermediate_size"], qwen["num_attention_heads"]
    kv = hidden // heads * qwen["num_key_value_heads"]
    weights = 2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * inner
    attention = 2 * positions * positions * hidden  # multiply-adds of both products, all heads
    layer = weights * positions + attention
    expected = 2 * (qwen["num_hidden_layers"] * layer + hidden * (config["speech_token_size"] + 3))
    llm = build_llm(config)
    drop_text_head(llm)
    with torch.inference_mode():
        assert counted(lambda: llm.step(torch.randn(1, positions, hidden), None)) == expected


def test_convolutions_are_counted() -> None:
    conv = torch.nn.Conv1d(4, 6, 3, padding=1)
    assert counted(lambda: conv(torch.randn(1, 4, 10))) == 2 * 4 * 6 * 3 * 10


def test_attention_is_counted() -> None:
    query, key, value = (torch.randn(1, 2, length, 16) for length in (5, 7, 7))
    attend = torch.nn.functional.scaled_dot_product_attention
    assert counted(lambda: attend(query, key, value)) == 2 * 2 * (2 * 5 * 7 * 16)


def test_bytes_of_a_token_are_those_of_the_weights() -> None:
    llm = build_llm(TINY["llm"])
    unread = ("embed_tokens", "llm_embedding", "speech_embedding", "lm_head")
    weights = sum(p.numel() for name, p in llm.named_parameters() if not any(word in name for word in unread))
    assert cases.decode_bytes(TINY, 0) == 4 * weights
    per_position = 4 * 2 * TINY["llm"]["qwen"]["num_hidden_layers"] * 2 * 16  # two heads of 16, keys and values
    assert cases.decode_bytes(TINY, 10) - cases.decode_bytes(TINY, 0) == 10 * per_position


@pytest.mark.parametrize("config", [TINY, FULL, *SIZES3.values()], ids=["tiny", "full", "tiny3", "full3"])
def test_cases_are_the_same_every_time_and_fit_the_network(config: dict[str, Any]) -> None:
    options = Options(stages=NAMES, lengths=(2, 5))
    first, second = (list(chosen_cases(options, config, Path("x"))) for _ in range(2))
    names = [case.name for case, _ in first]
    assert len(set(names)) == len(names)
    assert set(cases.MAKERS) < set(names)
    for (one, _), (other, _) in zip(first, second, strict=True):
        for name, array in one.inputs.items():
            np.testing.assert_array_equal(array, other.inputs[name])
    prompt = cases.llm_prefill(config).inputs
    assert sum(array.shape[1] for array in prompt.values()) + 2 == cases.PREFILL


def test_unknown_stages_are_refused() -> None:
    with pytest.raises(ValueError, match=r"flwo is none of .*flow"):
        Options(stages=("flwo",))


def test_outputs_are_compared(tmp_path: Path) -> None:
    paths = {side: tmp_path / f"flow.{side}.npy" for side in ("mlx", "pytorch")}
    assert difference(paths) is None
    np.save(paths["mlx"], np.array([1.0, 3.5]))
    np.save(paths["pytorch"], np.array([1.0, 3.0]))
    assert difference(paths) == 0.5
    np.save(paths["mlx"], np.zeros(3))
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        difference(paths)


def test_a_worker_holds_one_framework_and_says_when_it_dies(tiny_checkpoint: Path, tiny_model: Path) -> None:
    for side, folder, framework in (("mlx", tiny_model, "mlx.core"), ("pytorch", tiny_checkpoint, "torch")):
        with Worker(side, folder, TINY, 1) as worker:
            facts = worker.ask("facts")
            assert facts["modules"] == [framework]
            assert facts["threads"] == 1
            assert facts["blas"] not in ("", "unknown")
            os.kill(worker.process_id, 9)
            with pytest.raises(WorkerError, match=rf"{side} worker died at 'facts' \(killed by signal 9"):
                worker.ask("facts")


def test_a_side_that_fails_says_where_and_ends_the_other(tiny_model: Path, tmp_path: Path) -> None:
    opened: list[Worker] = []

    def open_worker(side: str) -> Worker:
        opened.append(Worker(side, tiny_model if side == "mlx" else tmp_path, TINY, 1))
        return opened[-1]

    with pytest.raises(WorkerError, match=r"pytorch worker failed at 'load': .*llm\.pt"):
        measure(cases.llm_prefill(TINY), open_worker, 1, tmp_path)
    assert [worker.side for worker in opened] == ["mlx", "pytorch"]
    for worker in opened:
        assert not Path(f"/proc/{worker.process_id}").exists()


@pytest.fixture(scope="session")
def command(
    tiny_checkpoint: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, Path, str, list[int]]:
    """One run of the command for all tests: its status, the folder it wrote into, what it printed, its processes."""
    folder, printed, opened = tmp_path_factory.mktemp("bench"), io.StringIO(), []

    class Noted(Worker):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            opened.append(self.process_id)

    words = ["--checkpoint", str(tiny_checkpoint), "--model", str(tiny_model), "--repeats", "2", "--threads", "1"]
    words += ["--lengths", "2", "--steps", "1", "--stages", *STAGES]
    words += ["--json", str(folder / "b.json"), "--markdown", str(folder / "b.md"), "--plot", str(folder / "plots")]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(suite, "Options", functools.partial(Options, limit_sizes=(128, 2**14)))
        patch.setattr(suite, "Worker", Noted)
        patch.setattr(cases, "HOPS", {name: cases.HOPS[name] for name in ("offline", "incremental_exact")})
        status = main(["bench", *words])
    return status, folder, printed.getvalue(), opened


@pytest.fixture(scope="session")
def measured(command: tuple[int, Path, str, list[int]]) -> dict[str, Any]:
    return json.loads((command[1] / "b.json").read_text())


@pytest.mark.slow
def test_the_command_writes_what_it_is_told(
    command: tuple[int, Path, str, list[int]], measured: dict[str, Any]
) -> None:
    status, folder, printed, opened = command
    assert status == 0
    assert (folder / "b.md").read_text() == table.markdown(measured)
    assert {path.name for path in (folder / "plots").iterdir()} == {"ratios.png", "hops.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in (folder / "plots").iterdir())
    shown = " ".join(printed.split())
    assert "LLM, prompt of 200 positions" in shown
    assert "Euler steps of the flow: 1." in shown
    assert "incremental, all context, 2 s" in shown
    assert "all hops / offline" in " ".join(shown.split())
    assert "for a prefilled one: " in shown
    assert not [process for process in opened if Path(f"/proc/{process}").exists()]


@pytest.mark.slow
def test_result_has_all_keys_and_is_json(measured: dict[str, Any]) -> None:
    json.dumps(measured, allow_nan=False)
    assert measured["schema_version"] == 1
    assert measured["threads"] == 1
    assert measured["steps"] == 1
    assert measured["blas"].keys() == {"mlx", "pytorch"}
    assert measured["machine"]["load_average"].keys() == {"before", "after"}
    for side in ("mlx", "pytorch", "machine"):
        assert measured["limits"][side]["matmul_flops"] > 0
        assert measured["limits"][side]["read_bytes"] > 0
    assert measured["ratios"].keys() == {"llm_prefill", "llm_decode_lean"}
    for name, value in measured["ratios"].items():
        sides = measured["stages"][name]["sides"]
        assert value == pytest.approx(sides["mlx"]["seconds"]["median"] / sides["pytorch"]["seconds"]["median"])
        for side in sides.values():
            assert len(side["seconds"]["samples"]) == 2
            assert side["memory"]["peak_bytes"] >= side["memory"]["loaded_bytes"] > 0


@pytest.mark.slow
def test_both_sides_compute_the_same(measured: dict[str, Any]) -> None:
    assert 0 < measured["stages"]["llm_prefill"]["difference"] < 1e-3
    assert measured["stages"]["llm_prefill"]["flops"] > 0
    assert measured["stages"]["llm_decode_lean"]["difference"] == 0  # the same tokens


def check_laps(laps: list[dict[str, float]]) -> None:
    assert sum(lap["tokens"] for lap in laps) == 50
    assert sum(lap["samples"] for lap in laps) == 48000
    assert all(lap["seconds"] > 0 for lap in laps)


@pytest.fixture(scope="session")
def mlx_side(tiny_model: Path) -> Side:
    side = Side(tiny_model, TINY, 1)
    side.load("flow+hift")
    return side


@pytest.mark.parametrize(
    ("name", "hops"), [("offline", 1), ("official", 2), ("incremental", 2), ("incremental_exact", 2)]
)
def test_hops_are_laps(mlx_side: Side, name: str, hops: int) -> None:
    case = cases.with_steps(cases.hops(TINY, name, 2), 1)
    _, outcome = timed(mlx_side.job(case.job, case.inputs, case.settings))
    assert len(outcome.laps) == hops
    check_laps(outcome.laps)


@pytest.mark.parametrize(("name", "hops"), [("offline", 1), ("official", 2), ("incremental", 2)])
def test_hops_of_cosyvoice3_are_laps(tiny_model3: Path, name: str, hops: int) -> None:
    """Its vocoder says from where on it wants noise."""
    side = Side(tiny_model3, SIZES3["tiny"], 1)
    side.load("flow+hift")
    case = cases.with_steps(cases.hops(SIZES3["tiny"], name, 2), 1)
    _, outcome = timed(side.job(case.job, case.inputs, case.settings))
    assert len(outcome.laps) == hops
    check_laps(outcome.laps)


@pytest.mark.parametrize("name", ["llm_decode", "f0_predictor", "vocoder"])
def test_both_sides_of_cosyvoice3_compute_the_same(name: str, tiny_checkpoint3: Path, tiny_model3: Path) -> None:
    """Random weights soon draw one of its 200 ids that end speech."""
    case, made = cases.MAKERS[name](SIZES3["tiny"]), []
    with torch.no_grad():  # the reference's side turns gradients off, in a process of its own
        for side in (Side(tiny_model3, SIZES3["tiny"], 1), side_torch.Side(tiny_checkpoint3, SIZES3["tiny"], 1)):
            side.load(case.component)
            made.append(np.asarray(timed(side.job(case.job, case.inputs, case.settings))[1].output))
    mlx, pytorch = made
    np.testing.assert_allclose(mlx, pytorch, atol=1e-3)
    if name == "llm_decode":
        assert mlx.shape == (cases.DECODE_STEPS,)
        assert mlx.max() < SIZES3["tiny"]["llm"]["speech_token_size"]


@pytest.mark.slow
def test_hops_of_the_command_are_laps(measured: dict[str, Any]) -> None:
    for name in ("offline", "incremental_exact"):
        check_laps(measured["stages"][f"hops_{name}"]["sides"]["mlx"]["laps"])
    assert all("sides" in stage for stage in measured["stages"].values())


def test_streaming_ratios_follow_from_the_laps() -> None:
    def stage(*seconds: float) -> dict[str, Any]:
        laps = [{"seconds": each, "cpu_seconds": 2 * each**2} for each in seconds]
        return {"audio_seconds": 3.0, "sides": {"mlx": {"laps": laps}}}

    numbers = {
        "new_voice_seconds": {"median": 4.0},
        "prefilled_voice_seconds": {"median": 1.0},
        "new_voice_cpu_seconds": {"median": 4.0},
        "prefilled_voice_cpu_seconds": {"median": 2.0},
    }
    found = streaming_ratios(
        {
            "hops_offline": stage(8.0),
            "hops_incremental": stage(5.0, 2.0, 3.0, 6.0),
            "voice_prefill": {"sides": {"mlx": {"numbers": numbers}}},
        }
    )
    assert found == {
        "offline": {
            "audio_seconds": 3.0,
            "hops": 1,
            "total_seconds": 8.0,
            "total_over_offline": 1.0,
            "of_cpu_seconds": {"total_over_offline": 1.0},
        },
        "incremental": {
            "audio_seconds": 3.0,
            "hops": 4,
            "total_seconds": 16.0,
            "last_over_second": 3.0,
            "last_full_over_second": 1.5,
            "total_over_offline": 2.0,
            "of_cpu_seconds": {
                "last_over_second": 9.0,
                "last_full_over_second": 2.25,
                "total_over_offline": (25 + 4 + 9 + 36) / 64,
            },
        },
        "voice_prefill": {
            "new_voice_seconds": 4.0,
            "prefilled_voice_seconds": 1.0,
            "prefilled_over_new": 0.25,
            "of_cpu_seconds": {"prefilled_over_new": 0.5},
        },
    }


@pytest.mark.slow
def test_streaming_figures_are_in_the_result(measured: dict[str, Any]) -> None:
    streaming = measured["streaming"]
    assert streaming.keys() == {"offline", "incremental_exact", "voice_prefill"}
    assert streaming["offline"]["total_over_offline"] == 1
    assert streaming["incremental_exact"]["hops"] == 2
    assert streaming["incremental_exact"]["total_over_offline"] > 0
    assert 0 < streaming["voice_prefill"]["prefilled_over_new"] < 1.5


def test_steps_of_the_flow_are_asked_of_what_runs_it() -> None:
    options = Options(stages=NAMES, lengths=(2,), steps=3)
    chosen = {case.name: case.settings for case, _ in chosen_cases(options, TINY, Path("x"))}
    asked = {name for name, settings in chosen.items() if settings.get("n_timesteps") == 3}
    assert asked == {
        *(f"hops_{name}" for name in cases.HOPS),
        *(f"pipeline_{name}" for name in ("offline", "official", "incremental")),
        "flow",
        "flow_2s",
        "voice_prefill",
    }


@pytest.mark.slow
def test_conversion_runs_once(measured: dict[str, Any]) -> None:
    side = measured["stages"]["conversion"]["sides"]["converter"]
    assert len(side["seconds"]["samples"]) == 1
    assert side["memory"]["peak_bytes"] > 0


@pytest.mark.slow
def test_the_table_has_a_row_a_stage(measured: dict[str, Any]) -> None:
    text = table.markdown(measured)
    stages, hops = (part.splitlines() for part in text.split("\n\n")[:2])
    assert len(stages) == len(measured["stages"])  # two lines of header in place of two rows of hops
    assert {line.count("|") for line in stages} == {len(table.HEADER) + 1}
    assert "tokens/s" in text
    assert len(hops) == 4
    assert {line.count("|") for line in hops} == {len(table.HOPS_HEADER) + 1}


def test_hops_that_are_too_few_leave_cells_empty() -> None:
    def stage(*seconds: float) -> dict[str, Any]:
        laps = [{"seconds": each, "cpu_seconds": 2 * each} for each in seconds]
        return {"audio_seconds": 3.0, "sides": {"mlx": {"laps": laps, "memory": {"peak_bytes": 2**30}}}}

    stages = {"hops_incremental": stage(5.0, 2.0, 3.0)}
    for more, compared in (({}, ""), ({"hops_offline": stage(8.0)}, "1.25 (1.25)")):
        data = {"stages": {**stages, **more}}
        *offline, incremental = table.hop_rows({**data, "streaming": streaming_ratios(data["stages"])})
        assert offline == ([("offline, 3 s", "1", "8 s", "1.00 (1.00)", "8 s", "", "", "", "1.00 GB")] if more else [])
        assert incremental[1:] == ("3", "10 s", compared, "5 s", "2 s", "3 s", "1.50 (1.50)", "1.00 GB")


@pytest.mark.slow
def test_a_busy_machine_is_told(measured: dict[str, Any]) -> None:
    machine = {**measured["machine"], "cores": 4}
    for load, busy in ((0.1, False), (9.0, True)):
        data = {**measured, "machine": {**machine, "load_average": {"before": load, "after": 9.0}}}
        assert bool(table.warning(data)) == busy


@pytest.mark.parametrize("most", [0.003, 1, 7, 99.5, 1e4])
def test_ticks_reach_the_greatest_value(most: float) -> None:
    ticks = charts._ticks(most)
    assert ticks[0] == 0
    assert most <= ticks[-1] <= 2 * most or math.isclose(ticks[-1], most)
    assert len(ticks) <= 8


def test_ticks_of_counts_are_whole() -> None:
    assert charts._ticks(2, whole=True) == [0, 1, 2]
    assert charts._ticks(9, whole=True) == [0, 2, 4, 6, 8, 10]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint", "x"], "go together"),
        (["--stages", "flwo"], "flwo is none of"),
        (["--lengths", "2,x"], "--lengths must be seconds"),
        (["--repeats", "0"], "--repeats must be at least 1"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--threads", "-1"], "--threads must be at least 1"),
    ],
)
def test_wrong_arguments_are_refused_at_once(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err

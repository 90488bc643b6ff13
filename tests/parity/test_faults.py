"""The harness on faults that are put in: whom it blames and whom not, the catalogue, and its command."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from rich.console import Console

from mlx_cosyvoice.audio import mean_normalize
from mlx_cosyvoice.decoding.incremental import IncrementalFlow
from mlx_cosyvoice.decoding.incremental.prefill import PrefilledVoices
from mlx_cosyvoice.flow import cfm, encoder, estimator
from mlx_cosyvoice.vocoder import f0_predictor, source
from mlx_parity.compare import Verdict
from mlx_parity.findings import KINDS
from mlx_parity.report.culprits import print_culprits, to_dict
from parity.__main__ import main
from parity.faults import FAULTS, choose
from parity.faults.base import behaving, edited, modules_at, patched, setting
from parity.faults.trial import LLM_STEPS, Bench
from parity.inputs import load_inputs
from parity.pair import Pair, load_pair
from parity.search import ReferenceCapture
from parity.stages import STAGES, Settings, features
from parity.stages.base import STREAMING


@pytest.fixture(scope="module")
def pair(tiny_checkpoint: Path, tiny_model: Path) -> Pair:
    return load_pair(tiny_checkpoint, tiny_model)


@pytest.fixture(scope="module")
def pairs(pair: Pair, tiny_checkpoint3: Path, tiny_model3: Path) -> dict[str, Pair]:
    """By family."""
    return {"cosyvoice2": pair, "cosyvoice3": load_pair(tiny_checkpoint3, tiny_model3)}


@pytest.fixture(scope="module")
def inputs() -> dict[str, Any]:
    return load_inputs()


@pytest.fixture(scope="module")
def capture(pair: Pair, inputs: dict[str, Any]) -> ReferenceCapture:
    return ReferenceCapture(pair, inputs, stages=["llm", "vocoder"], settings=Settings(llm_steps=LLM_STEPS))


def test_healthy_model_is_not_blamed(pair: Pair, capture: ReferenceCapture) -> None:
    report = capture.localise(pair)
    assert report.verdict is Verdict.PASS
    assert not report.culprits


@pytest.mark.slow
def test_two_faults_are_both_named_in_data_flow_order(pair: Pair, capture: ReferenceCapture) -> None:
    faults = choose(["f0-without-abs", "kv-head-order"])
    with ExitStack() as stack:
        for fault in faults:
            stack.enter_context(fault.switch(pair))
        report = capture.localise(pair)
    layers = "llm.llm.model.model.layers"
    named = [culprit.module for culprit in report.culprits]
    assert named == [f"{layers}.0.self_attn", f"{layers}.1.self_attn", "hift.f0_predictor"]


def test_a_module_that_raises_is_named(pair: Pair, capture: ReferenceCapture) -> None:
    def broken(self: Any, x: mx.array) -> mx.array:
        raise ValueError("no such shape")

    path = "llm.llm.model.model.layers.1.mlp.act_fn"
    with behaving(modules_at(pair, path), broken):
        report = capture.localise(pair)
    (culprit,) = report.culprits
    assert (culprit.module, culprit.kind) == (path, "leaf")
    assert "ValueError: no such shape" in culprit.evidence[0]
    assert report.unobserved, "what comes after the exception was not seen"


def test_a_faulty_stage_is_compared_freely_as_well(pair: Pair, capture: ReferenceCapture) -> None:
    (fault,) = choose(["f0-without-abs"])
    with fault.switch(pair):
        report = capture.localise(pair)
    (vocoder,) = (stage for stage in report.stages if stage.name == "vocoder")
    assert vocoder.measures["f0_error_hz"] > 0


def test_a_wrong_mask_is_the_first_thing_one_reads(pair: Pair, inputs: dict[str, Any]) -> None:
    settings = Settings(streaming="official", llm_steps=40)  # long enough for a chunk border in the new mel
    (fault,) = choose(["decoder-mask"])
    capture = ReferenceCapture(pair, inputs, stages=["flow_decoder"], settings=settings)
    with fault.switch(pair):
        report = capture.localise(pair)
    text = StringIO()
    print_culprits(report, Console(file=text, width=400))
    lines = [line.strip() for line in text.getvalue().splitlines() if line.strip()]
    assert lines[0] == "verdict: DIVERGED, 1 culprit (streaming)"
    block = "flow.decoder.estimator.down_blocks.0.1.0"
    assert lines[1] == f"1. flow.decoder passes a wrong value as argument `mask` of {block}"
    assert "its argument `mask` is None" in lines[3]
    assert re.search(r"mel: MLX mean .*, std .*, range .*; reference mean .*, std .*, range ", text.getvalue())
    assert re.search(r"worst of \d+ seams? at frame", text.getvalue())
    (culprit,) = json.loads(json.dumps(to_dict(report)))["culprits"]
    assert (culprit["module"], culprit["argument"]) == ("flow.decoder", "mask")


def test_who_raises_on_what_a_wrong_caller_hands_on_is_not_blamed(pair: Pair, inputs: dict[str, Any]) -> None:
    settings = Settings(llm_steps=4, n_timesteps=2)  # within the second step no module is fed
    capture = ReferenceCapture(pair, inputs, stages=["flow_decoder"], settings=settings)
    with edited(estimator.CausalConditionalDecoder.__call__, "spks, cond], axis=-1", "spks, cond], axis=0"):
        report = capture.localise(pair)
    assert [culprit.module for culprit in report.culprits] == ["flow.decoder.estimator"]


def test_what_returns_too_much_is_blamed_and_not_what_raises_on_it(pair: Pair, inputs: dict[str, Any]) -> None:
    capture = ReferenceCapture(pair, inputs, stages=["flow_decoder", "offline"], settings=Settings(llm_steps=4))
    for right, wrong in (("rate * velocity[1:]", "rate * velocity"), ("rate) * velocity[:1]", "rate) * velocity")):
        with edited(cfm.CausalConditionalCFM.__call__, right, wrong):
            report = capture.localise(pair)
        assert [culprit.module for culprit in report.culprits] == ["flow.decoder"]


def blamed_for(pair: Pair, inputs: dict[str, Any], stage: str, streaming: Any, *edit: Any) -> list[str]:
    """Who is named in a stage where `edited(*edit)` holds."""
    capture = ReferenceCapture(pair, inputs, stages=[stage], settings=Settings(streaming=streaming, llm_steps=4))
    with edited(*edit):
        report = capture.localise(pair)
    return [culprit.module for culprit in report.culprits]


def test_who_calls_a_module_without_its_input_is_blamed_for_what_it_raises(pair: Pair, inputs: dict[str, Any]) -> None:
    edit: tuple[Any, str, str] = f0_predictor.ConvRNNF0Predictor.__call__, "mel.astype(self", "(self"
    assert blamed_for(pair, inputs, "vocoder", None, *edit) == ["hift.f0_predictor"]
    edit = encoder.UpsampleConformerEncoder.__call__, "self.embed(context)", "self.embed(None)"
    assert blamed_for(pair, inputs, "flow_encoder", "official", *edit) == ["flow.encoder"]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("state.prompt.tokens, 0)", "state.prompt.tokens, 1000)"), ("finalize=True", "finalize=False")],
)
def test_a_last_hop_with_full_attention_has_the_frames_that_are_left(
    pair: Pair, inputs: dict[str, Any], right: str, wrong: str
) -> None:
    edit = IncrementalFlow._whole, right, wrong
    assert blamed_for(pair, inputs, "incremental", "incremental", *edit) == ["incremental.full"]


def test_a_sine_generator_that_raises_on_its_own_is_blamed(pair: Pair, inputs: dict[str, Any]) -> None:
    edit = source.SineGen2._continued, "before is None", "before is not None"
    assert blamed_for(pair, inputs, "incremental", "incremental", *edit) == ["hift.m_source.l_sin_gen"]


def test_what_a_single_voice_does_not_show_is_found(pair: Pair, inputs: dict[str, Any]) -> None:
    edit: tuple[Any, str, str] = mean_normalize, "centered.mean(axis=1, keepdims=True)", "centered.mean(axis=1)"
    assert blamed_for(pair, inputs, "audio_features", None, *edit) == ["audio_features"]
    edit = PrefilledVoices.state, "popitem(last=False)", "popitem()"
    assert blamed_for(pair, inputs, "incremental", "incremental", *edit) == ["incremental.voices"]


def test_a_wrong_weight_explains_that_something_raises_behind_it(pair: Pair, capture: ReferenceCapture) -> None:
    path = "llm.llm.model.model.layers.1.self_attn.v_proj"
    with setting(modules_at(pair, path), weight=lambda weight: weight * float("nan")):
        report = capture.localise(pair, stages=["llm"])
    assert [culprit.module for culprit in report.culprits] == [path]


def test_exchanged_weights_are_not_the_fault_of_a_loop_that_looks_them_up(pair: Pair, inputs: dict[str, Any]) -> None:
    capture = ReferenceCapture(pair, inputs, stages=["generation"])
    paths = ["llm.llm_decoder", "llm.speech_embedding"]
    decoder, embedding = modules_at(pair, *paths)
    weights = decoder.weight, embedding.weight
    with setting([decoder], weight=weights[1]), setting([embedding], weight=weights[0]):
        report = capture.localise(pair)
    assert sorted(culprit.module for culprit in report.culprits) == paths


def test_an_output_that_never_comes_is_wrong(pair: Pair, inputs: dict[str, Any]) -> None:
    capture, made = ReferenceCapture(pair, inputs, stages=["audio_features"]), features._of_package
    with patched(features, "_of_package", lambda *sides: {"log_mel": made(*sides)["log_mel"]}):
        report = capture.localise(pair)
    assert {culprit.module for culprit in report.culprits} == {"audio_features.fbank", "audio_features.prompt_mel"}
    assert report.verdict is Verdict.DIVERGED


def test_a_loop_is_not_blamed_for_what_its_network_raises(pair: Pair, inputs: dict[str, Any]) -> None:
    def broken(self: Any, x: mx.array) -> mx.array:
        raise ValueError("no such shape")

    path = "flow.encoder.after_norm"
    capture = ReferenceCapture(
        pair, inputs, stages=["flow_pieces", "incremental"], settings=Settings(streaming="incremental", llm_steps=4)
    )
    with behaving(modules_at(pair, path), broken):
        both, alone = capture.localise(pair), capture.localise(pair, stages=["incremental"])
    assert [culprit.module for culprit in both.culprits] == [path]
    assert [(culprit.module, culprit.within) for culprit in alone.culprits] == [("incremental", ("flow",))]


def test_who_raises_where_nothing_stands_in_for_the_networks_is_named(pair: Pair, inputs: dict[str, Any]) -> None:
    def broken(self: Any, *arguments: Any, cache_source: mx.array | None = None, **drawn: Any) -> Any:
        if cache_source is not None:
            raise ValueError("no such shape")
        return self(*arguments, **drawn)

    settings = Settings(streaming="official", llm_steps=4)
    capture = ReferenceCapture(pair, inputs, stages=["streaming"], settings=settings)
    with behaving(modules_at(pair, "hift"), broken):
        report = capture.localise(pair)
    assert report.verdict is Verdict.DIVERGED
    assert [(culprit.module, culprit.evidence) for culprit in report.culprits] == [
        ("hift", ["raised ValueError: no such shape"])
    ]


def test_stages_can_be_chosen(pair: Pair, capture: ReferenceCapture) -> None:
    assert [stage.name for stage in capture.localise(pair, stages=["llm"]).stages] == ["llm"]


def _state(pair: Pair) -> Iterator[tuple[Any, ...]]:
    """What every module of the model is and holds; MLX keeps its arrays and children as items of a dict."""
    for component in pair.model.family.names:
        for path, module in getattr(pair.model, component).named_modules():
            held = {name: id(value) for name, value in {**vars(module), **module}.items() if not name.startswith("_")}
            yield component, path, type(module), held
    assert pair.model.text_tokenizer is not None
    yield id(pair.model.text_tokenizer._tokenizer), type(pair.model.llm)


@pytest.mark.parametrize("texts", [False, pytest.param(True, marks=pytest.mark.slow)])  # a tokenizer takes a second
@pytest.mark.parametrize("family", FAULTS)
def test_a_fault_leaves_no_trace(pairs: dict[str, Pair], family: str, texts: bool) -> None:
    pair = pairs[family]
    before = list(_state(pair))
    for fault in (fault for fault in FAULTS[family] if (fault.stage == "text_tokenizer") is texts):
        with fault.switch(pair):
            pass
        assert list(_state(pair)) == before, fault.name


@pytest.mark.parametrize("family", FAULTS)
def test_catalogue(pairs: dict[str, Pair], family: str) -> None:
    pair, faults = pairs[family], FAULTS[family]
    names = [fault.name for fault in faults]
    assert len(set(names)) == len(names) >= 40
    assert {fault.stage for fault in faults} <= {stage.name for stage in STAGES}
    assert {fault.streaming for fault in faults} == {None, *STREAMING}
    for fault in faults:
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fault.name)
        assert fault.mistake.endswith(".")
        assert fault.kind in KINDS
        assert fault.expected_modules(pair)


def test_every_stage_has_a_fault() -> None:
    assert {fault.stage for faults in FAULTS.values() for fault in faults} == {stage.name for stage in STAGES}


@pytest.mark.parametrize("family", FAULTS)
def test_command_lists_the_catalogue(capsys: pytest.CaptureFixture[str], family: str) -> None:
    assert main(["faults", "--list", "--family", family]) == 0
    listed = re.findall(r"^(\S+) \(", capsys.readouterr().out, re.MULTILINE)
    assert listed == [fault.name for fault in FAULTS[family]]


def test_command_lists_those_of_the_checkpoint(capsys: pytest.CaptureFixture[str], pairs: dict[str, Pair]) -> None:
    checkpoint = str(pairs["cosyvoice3"].reference.checkpoint)
    both = ["--checkpoint", checkpoint, "--model", str(pairs["cosyvoice3"].folder)]
    assert main(["faults", "--list", "--only", "six-scale-first", *both]) == 0
    assert "six-scale-first" in capsys.readouterr().out
    assert main(["faults", "--family", "cosyvoice2", *both]) == 2
    assert f"--family cosyvoice2: {checkpoint} is a checkpoint of cosyvoice3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "decoder-mask,nonsense"], "no such fault: nonsense; there are: "),
        (["--family", "cosyvoice3", "--only", "decoder-mask"], "no such fault: decoder-mask; there are: "),
        (["--family", "nonsense"], "no faults of the family nonsense; there are those of: cosyvoice2, cosyvoice3"),
        (["--checkpoint", "somewhere"], "--checkpoint and --model go together"),
    ],
)
def test_command_refuses_bad_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(["faults", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_fault_that_a_model_has_no_place_for_is_not_tried(pair: Pair, inputs: dict[str, Any]) -> None:
    known = next(fault for fault in FAULTS["cosyvoice2"] if fault.stage == "audio_features")
    lacking = replace(known, expected=("hift.no_such_module.*",))
    bench = Bench(pair, inputs, [known, lacking])
    assert [trial.fault for trial in bench.try_all([lacking, known])] == [known]

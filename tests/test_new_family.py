"""A family that exists in this file alone: what a developer declares is all that a new one needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reference.families
from converters.convert import convert
from converters.families import OFFICIALS, Official
from converters.families.cosyvoice2 import COSYVOICE2_OFFICIAL
from mlx_cosyvoice import CosyVoice2, load
from mlx_cosyvoice.config import FlowConfig, HiFTConfig, LLMConfig, ModelConfig, SpeechTokenizerConfig
from mlx_cosyvoice.families import COSYVOICE2, FAMILIES
from mlx_cosyvoice.model import SpeechModel
from mlx_cosyvoice.prompt import Prompt
from mlx_cosyvoice.speech import modes
from mlx_cosyvoice.weights import ModelFolderError
from mlx_parity.compare import Verdict
from parity.inputs import load_inputs
from parity.pair import Pair, load_pair
from parity.run import run
from parity.search import localise
from parity.stages import Settings
from parity.stages.base import Streaming
from reference.synthetic.checkpoint import COSYVOICE2_SYNTHETIC, Synthetic, write_checkpoint
from reference.synthetic.sizes import TINY, changed

# ----- Hum: no speaker encoder, narrower networks, another file for the speech tokenizer, a token more and some less,
# ----- and a mel up to Nyquist. Every prompt begins with its token.


@dataclass(frozen=True)
class HumConfig(ModelConfig):
    llm: LLMConfig = field(default_factory=LLMConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    hift: HiFTConfig = field(default_factory=HiFTConfig)
    speech_tokenizer: SpeechTokenizerConfig = field(default_factory=SpeechTokenizerConfig)


def model_input(voice: Any, mode: modes.Mode, *, encode: Any, **options: Any) -> Prompt:
    made = modes.model_input(voice, mode, encode=encode, **options)
    return replace(made, prompt_text=(*encode("[hum]"), *made.prompt_text))


TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "[hum]", "[breath]")
LEFT = [name for name in COSYVOICE2.names if name != "campplus"]
FILES = {**{name: COSYVOICE2[name].file for name in LEFT}, "speech_tokenizer": "hum_tokenizer.onnx"}

HUM = replace(
    COSYVOICE2,
    model_type="hum",
    title="Hum",
    yaml=("hum.yaml",),
    config=HumConfig,
    components=tuple(replace(COSYVOICE2[name], file=file) for name, file in FILES.items()),
    special_tokens=TOKENS,
    mel=replace(COSYVOICE2.mel, fmax=None),
    model_input="tests.test_new_family:model_input",
)
HUM_OFFICIAL = Official(
    HUM,
    hub="nobody/Hum",
    schema=COSYVOICE2_OFFICIAL.schema,
    origins={name: COSYVOICE2_OFFICIAL.origins[name] for name in LEFT},
)
NETWORKS = {name: replace(reference.families.COSYVOICE2.networks[name], file=file) for name, file in FILES.items()}
HUM_REFERENCE = reference.families.Family("hum.yaml", NETWORKS, TOKENS, mel_fmax=None)
ENCODER = {"input_size": 96, "output_size": 96, "attention_heads": 3, "linear_units": 80}
ESTIMATOR = {"channels": [32], "attention_head_dim": 16, "num_mid_blocks": 1}
QWEN = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 1}
SIZES = changed(
    TINY,
    {
        "llm": {"llm_input_size": 48, "llm_output_size": 48, "qwen": QWEN},
        "flow": {"input_size": 96, "encoder": ENCODER, "decoder": {"estimator": ESTIMATOR}},
        "hift": {"base_channels": 32},
        "speech_tokenizer": {"n_audio_state": 64, "n_audio_head": 1, "n_audio_layer": 1},
    },
)
HUM_SYNTHETIC = Synthetic(
    HUM_REFERENCE,
    {"tiny": SIZES},
    COSYVOICE2_SYNTHETIC.yaml,
    {"speech_tokenizer": COSYVOICE2_SYNTHETIC.onnx["speech_tokenizer"]},
)

# ----- That was it.


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, "hum", HUM)
        patch.setitem(OFFICIALS, "hum", HUM_OFFICIAL)
        patch.setitem(reference.families.FAMILIES, "hum", HUM_REFERENCE)
        yield write_checkpoint(tmp_path_factory.mktemp("hum") / "checkpoint", synthetic=HUM_SYNTHETIC)


@pytest.fixture(scope="module")
def folder(checkpoint: Path) -> Path:
    return convert(checkpoint, checkpoint.parent / "model").out


@pytest.fixture(scope="module")
def model(folder: Path) -> SpeechModel:
    return load(folder)


@pytest.fixture(scope="module")
def pair(checkpoint: Path, folder: Path) -> Pair:
    return load_pair(checkpoint, folder)


@pytest.fixture(scope="module")
def inputs(model: SpeechModel) -> dict[str, Any]:
    """Without a speaker encoder, a run needs an embedding."""
    return {**load_inputs(text="[hum] Hum along. [breath]"), "embedding": model.speakers["synthetic"].embedding}


def test_it_is_converted_and_loaded(model: SpeechModel) -> None:
    assert (model.family, type(model.config), model.campplus) == (HUM, HumConfig, None)
    assert model.llm is not None
    assert model.llm.llm.model.model.embed_tokens.weight.shape == (1000, 48)
    assert model.text_tokenizer is not None
    assert model.text_tokenizer.encode("[hum][breath]") == [903, 904]
    assert len(model.text_tokenizer.encode("[laughter]")) > 1


def test_it_is_no_cosyvoice2(folder: Path, model: SpeechModel) -> None:
    with pytest.raises(ModelFolderError, match=r"is a Hum; load it with mlx_cosyvoice\.load"):
        CosyVoice2.load(folder)
    with pytest.raises(ValueError, match="a Hum has no campplus"):
        model.clone("nobody.wav")


def test_a_component_of_another_family_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'campplus' is not one of llm, flow, hift, speech_tokenizer"):
        convert(checkpoint, tmp_path / "out", components=["campplus"])


def test_it_speaks_and_streams(model: SpeechModel) -> None:
    options: dict[str, Any] = {"seed": 3, "max_token_text_ratio": 5, "n_timesteps": 2}
    whole = model.synthesize("[hum] Hum along.", "synthetic", **options)
    assert np.abs(whole).max() > 0
    for decoding in ("official", "incremental"):
        chunks = list(model.stream("[hum] Hum along.", "synthetic", decoding=decoding, **options))
        assert sum(map(len, chunks)) == len(whole)


def test_prompts_are_its_own(model: SpeechModel) -> None:
    plain = modes.model_input
    with pytest.MonkeyPatch.context() as patch:
        prompts: list[tuple[int, ...]] = []
        patch.setattr(
            modes, "model_input", lambda *args, **options: replace(plain(*args, **options), prompt_text=(1, 2))
        )
        assert model.llm is not None
        original = model.llm.prompt

        def noting(text: Any, prompt_text: Any, speech: Any) -> Any:
            prompts.append(tuple(prompt_text))
            return original(text, prompt_text, speech)

        patch.setattr(model.llm, "prompt", noting)
        next(iter(model.speech_tokens("[hum] Hum along.", "synthetic")), None)
    assert prompts == [(903, 1, 2)]


def test_its_control_tokens_are_known(model: SpeechModel) -> None:
    with pytest.warns(UserWarning, match=r"will be spoken as letters: \[laughter\]"):
        list(model.speech_tokens("[hum] Hum [laughter] along.", "synthetic", max_token_text_ratio=2))


STAGES = ["text_tokenizer", "audio_features", "speech_tokenizer", "speech", "llm", "generation"]
STAGES += ["flow_encoder", "flow_decoder", "vocoder", "vocoder_loud", "offline"]


@pytest.mark.parametrize(
    ("stages", "streaming"),
    [(None, None), (["streaming"], "official"), (["flow_pieces", "incremental"], "incremental")],
    ids=["offline", "streaming", "incremental"],
)
def test_parity(pair: Pair, inputs: dict[str, Any], stages: list[str] | None, streaming: Streaming | None) -> None:
    settings = Settings(streaming=streaming, llm_steps=12, n_timesteps=2, sampler_rows=40)
    report = run(pair, inputs, stages=stages, settings=settings)
    assert report.verdict is Verdict.PASS, [(stage.name, stage.worst_layer) for stage in report.stages]
    assert [stage.name for stage in report.stages] == (stages or STAGES)


def test_there_is_no_stage_for_what_it_lacks(pair: Pair, inputs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no such stage: speaker_encoder"):
        run(pair, inputs, stages=["speaker_encoder"])


def test_a_mistake_is_found(pair: Pair, inputs: dict[str, Any]) -> None:
    assert pair.model.flow is not None
    projection = pair.model.flow.encoder_proj
    weight = projection.weight
    projection.weight = weight * 1.01
    try:
        found = localise(pair, inputs, stages=["flow_encoder"])
    finally:
        projection.weight = weight
    assert [culprit.module for culprit in found.culprits] == ["flow.encoder_proj"]

"""What each mode gives to the language model and the flow, against the official construction in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlx_cosyvoice import CosyVoice2, Voice
from mlx_cosyvoice.audio import load_audio
from mlx_cosyvoice.flow import CausalMaskedDiffWithXvec
from mlx_cosyvoice.speech import choose_mode
from parity.pair import Reference
from reference.features import log_mel_spectrogram, mel_spectrogram
from tests.support.process import ROOT

SAMPLE = ROOT / "parity" / "data" / "sample.wav"
TRANSCRIPT = SAMPLE.with_suffix(".txt").read_text(encoding="utf-8").strip()
TEXT = "We have a nice time."
INSTRUCTION = "Speak slowly.<|endofprompt|>"


@pytest.fixture(scope="module")
def voice(tts: CosyVoice2) -> Voice:
    return tts.clone(SAMPLE, TRANSCRIPT)


@pytest.fixture(scope="module")
def official(tiny_checkpoint: Path) -> Reference:
    return Reference(tiny_checkpoint)


def official_model_input(official: Reference, mode: str) -> dict[str, torch.Tensor]:
    """As `CosyVoiceFrontEnd.frontend_*` and the defaults of `CosyVoice2Model.tts`, out of the reference's parts."""
    encode = official.component("text_tokenizer", "float32").encode
    nothing = torch.zeros(1, 0, dtype=torch.int64)
    inputs = {"text": torch.tensor([encode(TEXT)]), "prompt_text": nothing, "llm_prompt_speech_token": nothing}
    if mode == "sft":
        return {**inputs, "flow_prompt_speech_token": nothing, "prompt_speech_feat": torch.zeros(1, 0, 80)}
    wave16 = torch.from_numpy(load_audio(SAMPLE, 16000))
    token = official.component("speech_tokenizer", "float32")(log_mel_spectrogram(wave16)[None])
    feat = mel_spectrogram(torch.from_numpy(load_audio(SAMPLE, 24000))).T[None]
    length = min(feat.shape[1] // 2, token.shape[1])
    token, feat = token[:, :length], feat[:, : 2 * length]
    if mode == "zero_shot":
        inputs |= {"prompt_text": torch.tensor([encode(TRANSCRIPT)]), "llm_prompt_speech_token": token}
    elif mode == "instruct2":
        inputs |= {"prompt_text": torch.tensor([encode(INSTRUCTION)])}
    return {**inputs, "flow_prompt_speech_token": token, "prompt_speech_feat": feat}


def run_and_record(tts: CosyVoice2, monkeypatch: pytest.MonkeyPatch, voice: Voice, **options: Any) -> dict[str, Any]:
    """What the networks get while `tts` speaks."""
    seen: dict[str, Any] = {}
    assert tts.llm is not None
    generate, flow = tts.llm.generate, CausalMaskedDiffWithXvec.__call__

    def spy_llm(text: list[int], prompt_text: Any, prompt_speech_token: Any, *args: Any, **rest: Any) -> Any:
        seen["text"], seen["prompt_text"], seen["speech"] = text, list(prompt_text), list(prompt_speech_token)
        return generate(text, prompt_text, prompt_speech_token, *args, **rest)

    def spy_flow(self: Any, token: Any, prompt_token: Any, prompt_feat: Any, embedding: Any, **rest: Any) -> Any:
        seen["flow_token"], seen["flow_feat"], seen["embedding"] = map(np.array, (prompt_token, prompt_feat, embedding))
        return flow(self, token, prompt_token, prompt_feat, embedding, **rest)

    monkeypatch.setattr(tts.llm, "generate", spy_llm)
    monkeypatch.setattr(CausalMaskedDiffWithXvec, "__call__", spy_flow)
    seen["wav"] = tts.synthesize(TEXT, voice, max_token_text_ratio=3, n_timesteps=2, **options)
    return seen


@pytest.mark.parametrize("mode", ["zero_shot", "cross_lingual", "instruct2", "sft"])
def test_prompts_are_the_official_ones(
    tts: CosyVoice2, voice: Voice, official: Reference, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"instruction": INSTRUCTION} if mode == "instruct2" else {}
    seen = run_and_record(tts, monkeypatch, voice, mode=mode, **options)
    expected = official_model_input(official, mode)
    assert seen["text"] == expected["text"][0].tolist()
    assert seen["prompt_text"] == expected["prompt_text"][0].tolist()
    assert seen["speech"] == expected["llm_prompt_speech_token"][0].tolist()
    assert seen["flow_token"].tolist() == expected["flow_prompt_speech_token"].tolist()
    assert seen["flow_feat"] == pytest.approx(expected["prompt_speech_feat"].numpy(), abs=1e-3)
    assert np.array_equal(seen["embedding"], voice.embedding)
    assert np.abs(seen["wav"]).max() > 0.001

    # and the sequence that the language model makes of it
    assert tts.llm is not None
    with torch.inference_mode():
        sequence = official.component("llm", "float32").prompt(
            expected["text"], expected["prompt_text"], expected["llm_prompt_speech_token"]
        )
    own = np.array(tts.llm.prompt(seen["text"], seen["prompt_text"], seen["speech"]))
    assert np.array_equal(own, sequence.numpy())


def test_voice_conversion_takes_the_tokens_of_the_recording(
    tts: CosyVoice2, voice: Voice, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    flow = CausalMaskedDiffWithXvec.__call__

    def spy(self: Any, token: Any, prompt_token: Any, *rest: Any, **more: Any) -> Any:
        seen["token"], seen["prompt"] = np.array(token), np.array(prompt_token)
        return flow(self, token, prompt_token, *rest, **more)

    monkeypatch.setattr(CausalMaskedDiffWithXvec, "__call__", spy)
    monkeypatch.setattr(tts, "llm", None)  # it has no part in this
    wav = np.concatenate(list(tts.convert_voice(SAMPLE, voice, n_timesteps=2)))
    # the source's tokens are not cut to the length of a mel, the prompt's are
    assert seen["token"][0, : voice.prompt_token.shape[1]].tolist() == voice.prompt_token[0].tolist()
    assert seen["prompt"].tolist() == voice.prompt_token.tolist()
    assert len(wav) == seen["token"].shape[1] * 960


def test_an_instruction_is_ended_by_the_marker(tts: CosyVoice2, voice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_and_record(tts, monkeypatch, voice, instruction="Speak slowly.")
    assert tts.text_tokenizer is not None
    assert first["prompt_text"] == tts.text_tokenizer.encode(INSTRUCTION)


def test_a_voice_with_ids_for_a_transcript(tts: CosyVoice2, voice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = Voice(voice.prompt_token, voice.prompt_feat, voice.embedding, prompt_text=(5, 6, 7))
    assert run_and_record(tts, monkeypatch, imported)["prompt_text"] == [5, 6, 7]


def bare(recording: bool = True, transcript: str = "") -> Voice:
    count = 5 if recording else 0
    return Voice(
        np.zeros((1, count), np.int32),
        np.zeros((1, 2 * count, 80), np.float32),
        np.ones((1, 192), np.float32),
        transcript,
    )


@pytest.mark.parametrize(
    ("voice", "instruction", "expected"),
    [
        (bare(transcript="hello"), None, "zero_shot"),
        (bare(), None, "cross_lingual"),
        (bare(recording=False), None, "sft"),
        (bare(transcript="hello"), "Whisper.", "instruct2"),
        (bare(recording=False), "Whisper.", "instruct2"),
    ],
)
def test_the_mode_follows_from_what_there_is(voice: Voice, instruction: str | None, expected: str) -> None:
    assert choose_mode(voice, None, instruction) == expected


@pytest.mark.parametrize(
    ("voice", "mode", "instruction", "message"),
    [
        (bare(), "zero_shot", None, "needs the transcript"),
        (bare(recording=False), "zero_shot", None, "use sft"),
        (bare(recording=False), "cross_lingual", None, "use sft"),
        (bare(), "instruct2", None, "needs an instruction"),
        (bare(), "instruct2", "  ", "needs an instruction"),
        (bare(), "cross_lingual", "Whisper.", "instruct2 only"),
        (bare(), "zeroshot", None, "must be one of zero_shot, cross_lingual, instruct2, sft"),
    ],
)
def test_a_mode_that_lacks_something(voice: Voice, mode: str, instruction: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_mode(voice, mode, instruction)

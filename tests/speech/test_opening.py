"""The system prompt and the instruction that CosyVoice3's language model reads before everything else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlx_cosyvoice import CosyVoice2, Voice
from mlx_cosyvoice.families.cosyvoice3_tokens import SYSTEM_PROMPT
from mlx_cosyvoice.speech import model_input
from mlx_cosyvoice.speech.opening import END_OF_PROMPT, opening, taken_from, without_opening
from tests.support.voices import make_voice

TEXT = "We have a nice time."
TRANSCRIPT = "The quick brown fox jumps over the lazy dog."
#: As upstream's examples have it.
PREFIX = "You are a helpful assistant.<|endofprompt|>"
SLOWLY = "You are a helpful assistant. Speak slowly.<|endofprompt|>"


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> CosyVoice2:
    """A CosyVoice2 with CosyVoice3's system prompt."""
    model = CosyVoice2.load(tiny_model)
    model.family = replace(model.family, system_prompt=SYSTEM_PROMPT)
    return model


def read(model: CosyVoice2, text: Any, voice: Voice, **options: Any) -> list[tuple[list[int], int, int]]:
    """Of each utterance: the ids before the speech, how many of them are the text, how many prompt tokens follow."""
    seen: list[tuple[list[int], int, int]] = []
    assert model.llm is not None
    generate = model.llm.generate

    def spy(text: list[int], prompt_text: Any, prompt_speech: Any, *args: Any, **rest: Any) -> Iterator[int]:
        seen.append(([*prompt_text, *text], len(text), len(prompt_speech)))
        return generate(text, prompt_text, prompt_speech, *args, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.llm, "generate", spy)
        list(model.speech_tokens(text, voice, min_token_text_ratio=0, max_token_text_ratio=0.5, **options))
    return seen


def ids(model: CosyVoice2, text: str) -> list[int]:
    assert model.text_tokenizer is not None
    return model.text_tokenizer.encode(text)


@pytest.mark.parametrize(
    ("mode", "instruction", "official", "speech"),
    [
        ("zero_shot", None, PREFIX + TRANSCRIPT + TEXT, 25),
        ("cross_lingual", None, PREFIX + TEXT, 0),
        ("instruct2", "Speak slowly.", SLOWLY + TEXT, 0),
        ("sft", None, PREFIX + TEXT, 0),
    ],
)
def test_the_language_model_reads_what_it_reads_officially(
    model: CosyVoice2, mode: str, instruction: str | None, official: str, speech: int
) -> None:
    voice = make_voice(tokens=25, transcript=TRANSCRIPT)
    seen = read(model, TEXT, voice, mode=mode, instruction=instruction)
    assert seen == [(ids(model, official), len(ids(model, TEXT)), speech)]


@pytest.mark.parametrize("text", [TEXT, PREFIX + TEXT, "  " + PREFIX + TEXT, END_OF_PROMPT + TEXT])
@pytest.mark.parametrize("transcript", [TRANSCRIPT, PREFIX + TRANSCRIPT, END_OF_PROMPT + TRANSCRIPT])
@pytest.mark.parametrize("mode", ["zero_shot", "cross_lingual"])
def test_what_holds_the_prefix_is_not_prefixed_twice(model: CosyVoice2, mode: str, text: str, transcript: str) -> None:
    plain = read(model, TEXT, make_voice(tokens=25, transcript=TRANSCRIPT), mode=mode)
    assert read(model, text, make_voice(tokens=25, transcript=transcript), mode=mode) == plain


@pytest.mark.parametrize(
    "instruction", ["Speak slowly.", " Speak slowly. ", SLOWLY, "Speak slowly.<|endofprompt|>", SLOWLY[:-15]]
)
def test_an_instruction_may_hold_what_upstream_wants(model: CosyVoice2, instruction: str) -> None:
    seen = read(model, TEXT, make_voice(tokens=25), instruction=instruction)
    assert seen[0][0] == ids(model, SLOWLY + TEXT)


@pytest.mark.parametrize("mode", [None, "cross_lingual", "instruct2"])
def test_an_instruction_may_stand_in_the_text(model: CosyVoice2, mode: str | None) -> None:
    seen = read(model, SLOWLY + TEXT, make_voice(tokens=25, transcript=TRANSCRIPT), mode=mode)
    assert seen == [(ids(model, SLOWLY + TEXT), len(ids(model, TEXT)), 0)]


def test_two_instructions_are_refused(model: CosyVoice2) -> None:
    with pytest.raises(ValueError, match=r"begins with the instruction 'Speak slowly\.', and there is 'Fast'"):
        model.speech_tokens(SLOWLY + TEXT, make_voice(tokens=25), instruction="Fast")
    with pytest.raises(ValueError, match="instruct2 only"):
        model.speech_tokens(SLOWLY + TEXT, make_voice(tokens=25, transcript=TRANSCRIPT), mode="zero_shot")


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("mode", ["zero_shot", "cross_lingual"])
def test_a_long_text_is_split_and_each_segment_prefixed(model: CosyVoice2, mode: str, prefix: str) -> None:
    """Upstream splits no text that holds the prefix."""
    long = "The morning was bright and the road was empty, so we walked on. " * 8
    seen = read(model, prefix + long, make_voice(tokens=25, transcript=TRANSCRIPT), mode=mode)
    opened = ids(model, PREFIX)
    assert len(seen) >= 3
    assert all(found[: len(opened)] == opened and found.count(opened[-1]) == 1 for found, *_ in seen)


def test_an_instruction_is_followed_for_a_stored_speaker(model: CosyVoice2) -> None:
    stored = replace(make_voice(tokens=25), prompt_text=tuple(ids(model, PREFIX + TRANSCRIPT)))
    assert read(model, TEXT, stored, instruction="Speak slowly.")[0][0] == ids(model, SLOWLY + TEXT)


@pytest.mark.parametrize("prefix", ["", PREFIX, SLOWLY])
def test_a_stored_transcript_has_one_opening(model: CosyVoice2, prefix: str) -> None:
    stored = replace(make_voice(tokens=25), prompt_text=tuple(ids(model, prefix + TRANSCRIPT)))
    assert read(model, TEXT, stored)[0][0] == ids(model, (prefix or PREFIX) + TRANSCRIPT + TEXT)


@given(
    cuts=st.lists(st.integers(0, 70), max_size=6).map(sorted),
    text=st.sampled_from([TEXT, "You", "You are a helpful man.", "", PREFIX, "You are a helpful assistant. No."]),
    prefix=st.sampled_from(["", PREFIX, " " + PREFIX]),
)
def test_a_text_that_arrives_loses_the_prefix_however_it_is_cut(cuts: list[int], text: str, prefix: str) -> None:
    whole = prefix + text
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    expected = text if prefix else text.removeprefix(PREFIX)
    assert "".join(without_opening(pieces, SYSTEM_PROMPT)) == expected
    assert "".join(without_opening(pieces, "")) == whole


def test_a_text_without_the_prefix_is_not_held_back() -> None:
    assert next(without_opening(iter(["You", " and", " I"]), SYSTEM_PROMPT)) == "You and"


@pytest.mark.parametrize("normalize", [True, False])
def test_a_text_that_arrives_is_prefixed(model: CosyVoice2, normalize: bool) -> None:
    """It ends before anything of it was spoken, so that it is spoken in the plain order."""
    for pieces in (["We have"], ["You are a helpful assis", "tant.<|endofprompt|>We", " have"]):
        seen = read(model, iter(pieces), make_voice(tokens=25), mode="cross_lingual", normalize=normalize)
        assert seen[0][0][: len(ids(model, PREFIX))] == ids(model, PREFIX)
        assert seen[0][0] == ids(model, PREFIX) + seen[0][0][-seen[0][1] :]
        assert seen[0][1] < 6


def test_interleaved_the_opening_is_run_before_the_first_block(model: CosyVoice2) -> None:
    assert model.llm is not None
    runs: list[int] = []
    step = model.llm.step

    def spy(x: Any, cache: Any) -> Any:
        runs.append(x.shape[1])
        return step(x, cache)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.llm, "step", spy)
        tokens = model.speech_tokens(
            iter([TEXT] * 9), make_voice(tokens=25), mode="cross_lingual", normalize=False, sampler=lambda *_: 7
        )
        next(tokens)
        list(tokens)
    assert runs[0] == 1 + len(ids(model, PREFIX)) + 5


def test_the_prefix_is_no_part_of_the_transcript(model: CosyVoice2, recwarn: pytest.WarningsRecorder) -> None:
    """Upstream warns of a text that is shorter than half of both."""
    prompt = model_input(
        make_voice(tokens=25, transcript="Hello."), "zero_shot", encode=model.text_tokenizer.encode,  # type: ignore[union-attr]
        normalize=str, system_prompt=SYSTEM_PROMPT,
    )  # fmt: skip
    assert list(prompt.transcript) == ids(model, "Hello.")
    assert prompt.opening == len(ids(model, PREFIX))
    read(model, "Hi you.", make_voice(tokens=25, transcript="Hello."))
    assert not [one for one in recwarn if "transcript" in str(one.message)]


def test_without_a_system_prompt_nothing_is_taken_or_added() -> None:
    assert taken_from(SLOWLY + TEXT, "zero_shot", None, "") == (SLOWLY + TEXT, "zero_shot", None)
    assert opening("", "") == ""
    assert opening(" Slowly.", "") == " Slowly.<|endofprompt|>"

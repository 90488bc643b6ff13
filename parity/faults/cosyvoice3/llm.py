"""Mistakes in CosyVoice3's language model: the ids that stand around text and speech, and when it ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import mlx.core as mx

from mlx_cosyvoice.llm import CosyVoice3LM, RASSampler, bistream, lm
from parity.faults.base import Catalogue, Context, Place, patched, wrapped
from parity.pair import Pair

CATALOGUE, LOOP = Catalogue("llm"), Catalogue("generation")
LLM, HEAD = CATALOGUE.at("llm"), CATALOGUE.at("llm.llm_decoder", kind="leaf")
GENERATE, BISTREAM = LOOP.at("llm.generate"), LOOP.at("llm.generate_bistream")

Row = Any


def _speech(place: int) -> Row:
    """The row of `speech_embedding` that is so many behind the speech tokens."""
    return property(lambda self: self.embed_speech([self.config.speech_token_size + place]))


def _framed(name: str, mistake: str, **rows: Row) -> None:
    """A fault in which other rows stand around the text."""
    LLM.add(name, mistake, lambda pair: mock.patch.multiple(CosyVoice3LM, **rows))


_framed("sos-of-end", "The sequence begins with the id of the end of speech.", sos=_speech(1))
_framed("task-of-fill", "The text ends with the id that asks for more of it.", task_id=_speech(3))
_framed("sos-and-task-exchanged", "The ids of sos and task are exchanged.", sos=_speech(2), task_id=_speech(0))
_framed(
    "framing-by-text-rows",
    "sos and task id are looked up among the words, as if speech tokens were appended to them.",
    sos=property(lambda self: self.embed_text([self.config.speech_token_size])),
    task_id=property(lambda self: self.embed_text([self.config.speech_token_size + 2])),
)
_framed(
    "framing-by-first-rows",
    "sos and task id are rows 0 and 1, as those of CosyVoice2's own table are.",
    sos=property(lambda self: self.embed_speech([0])),
    task_id=property(lambda self: self.embed_speech([1])),
)


@LLM.wrapping(lm.SpeechLM, "embed_speech")
def special_rows_first(original: Any, self: Any, ids: Any) -> mx.array:
    """The 200 special rows of the speech embedding are taken to stand before those of the speech tokens."""
    return original(self, [(token + self.ids.count) % self.speech_embedding.weight.shape[0] for token in ids])


@HEAD.behaving
def head_with_bias(self: Any, x: mx.array) -> mx.array:
    """The speech head has a bias, as CosyVoice2's."""
    made = self(x)
    return made + mx.sin(mx.arange(made.shape[-1]))


@LLM.wrapping(lm.SpeechLM, "step")
def special_ids_cut_off(original: Any, self: Any, x: mx.array, cache: Any) -> mx.array:
    """Of the 200 special ids none but CosyVoice2's three are kept in the log-probabilities."""
    kept = mx.arange(self.llm_decoder.weight.shape[0]) < self.config.speech_token_size + 3
    logits = mx.where(kept, original(self, x, cache), -1e4)
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


@LLM.wrapping(RASSampler, "__init__")
def sos_forbidden(original: Any, self: Any, config: Any, uniforms: Any, ids: Any) -> None:
    """Where speech must not end yet, sos is forbidden in place of the end of speech, as upstream has it."""
    original(self, config, uniforms, ids.as_upstream_forbids)


@LLM.wrapping(RASSampler, "__init__")
def end_counted_from_the_last(original: Any, self: Any, config: Any, uniforms: Any, ids: Any) -> None:
    """The end of speech is looked for three ids before the last, where CosyVoice2 has it."""
    original(self, config, uniforms, replace(ids, end=ids.count - 3))


def _stopping_at(place: Place, name: str, mistake: str, stops: Any) -> None:
    """A fault in which the special ids that end a plain decode are those for which `stops(id, llm)` holds."""

    def generate(original: Any, self: Any, *args: Any) -> Iterator[int]:
        x, cache, sampler, low, high = args
        for token in self.tokens(x, cache, lm.drawing(sampler, high), (index < low for index in range(high))):
            if stops(token, self):
                return
            yield token

    place.add(name, mistake, lambda pair: wrapped(lm.SpeechLM, "_generate", generate))


_stopping_at(GENERATE, "end-alone-stops", "Only the end of speech ends it.", lambda token, llm: token == llm.eos_token)
_stopping_at(
    GENERATE,
    "three-ids-stop",
    "Of the special ids the first three alone end it, as CosyVoice2 has no more.",
    lambda token, llm: 0 <= token - llm.config.speech_token_size < 3,
)


@GENERATE.wrapping(lm.SpeechLM, "generate")
def lengths_count_the_prompt(original: Any, self: Any, text: Any, prompt_text: Any, *args: Any, **options: Any) -> Any:
    """The prompt's text is counted into the limits of length."""
    longer = (len(text) + len(prompt_text)) / max(len(text), 1)
    least, most = options.pop("min_token_text_ratio", 2), options.pop("max_token_text_ratio", 20)
    ratios = {"min_token_text_ratio": least * longer, "max_token_text_ratio": most * longer}
    return original(self, text, prompt_text, *args, **ratios, **options)


@GENERATE.wrapping(lm.SpeechLM, "tokens")
def silence_unheard(original: Any, self: Any, x: mx.array, cache: Any, drawing: Any, ignore: Iterable[bool]) -> Any:
    """Silence that is not spoken is kept from the language model, too: it does not go on from it."""
    silent, run = (1, 2, 28, 29, 55, 248, 494, 2241, 2242, 2322, 2323), 0
    for forbidden in ignore:
        token = drawing.read(drawing.draw(self.step(x, cache)[0], forbidden))
        run = run + 1 if token in silent else 0
        x = x[:, -1:] if run > 5 else self.embed_speech([token])
        yield token


def _bistream(name: str, mistake: str, change: Any) -> None:
    """A fault in which `change` is made to a new `Bistream`."""

    def made(original: Any, self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        change(self)

    BISTREAM.add(name, mistake, lambda pair: wrapped(bistream.Bistream, "__init__", made))


def _mixed(text: int, speech: int) -> Any:
    def change(self: bistream.Bistream) -> None:
        before = self.speech_block - self.next_fill
        self.text_block, self.speech_block, self.next_fill = text, speech, speech - before

    return change


_bistream("blocks-exchanged", "Fifteen ids of text go with five speech tokens.", _mixed(15, 5))
_bistream("blocks-of-four", "Four ids of text go with fifteen speech tokens.", _mixed(4, 15))


@BISTREAM.switching
def fill_of_cosyvoice2(pair: Pair) -> Context:
    """More text is asked for by the third special id, as in CosyVoice2, which is the task id here."""
    (llm,) = LLM.modules(pair)
    return patched(llm, "fill_token", llm.speech_token_size + 2)


@BISTREAM.wrapping(bistream.Bistream, "__init__")
def first_block_unprompted(original: Any, self: Any, *args: Any, **options: Any) -> None:
    """The instruction is taken for a block of text, so the first speech is made without any: upstream's fault."""
    original(self, *args, **{**options, "unprompted_first_block": True})


@BISTREAM.wrapping(bistream.Bistream, "__init__")
def instruction_in_blocks(original: Any, self: Any, *args: Any, **options: Any) -> None:
    """The instruction is cut into blocks like any text, as in CosyVoice2, and does not come first as a whole."""
    original(self, *args, **{**options, "instruction": 0})


@BISTREAM.wrapping(bistream.Bistream, "_next_text")
def text_block_again(original: Any, self: Any) -> mx.array:
    """A block of text that has been run stays among the text that waits."""
    kept = list(self.waiting_text)
    made = original(self)
    self.waiting_text = kept[1:]
    return made

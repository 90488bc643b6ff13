"""Mistakes in CosyVoice3's language model: the ids that stand around text and speech, and when it ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import mlx.core as mx

from mlx_cosyvoice.llm import CosyVoice3LM, RASSampler, lm
from mlx_cosyvoice.llm.bistream import Bistream
from parity.faults.base import Mistakes, at, modules_at, setting
from parity.faults.shared import FRAME

LLM, GENERATE, BISTREAM = at("llm"), at("llm.generate"), at("llm.generate_bistream")
SPEECH_LM, BLOCKS = lm.SpeechLM, BISTREAM.of(Bistream.__init__)
PROMPT, LOOP = LLM.of(SPEECH_LM.prompt), GENERATE.of(SPEECH_LM._generate)


def _silence_unheard(
    original: Any, self: Any, x: mx.array, cache: Any, drawing: Any, ignore: Iterable[bool]
) -> Iterator[int]:
    silent, run = (1, 2, 28, 29, 55, 248, 494, 2241, 2242, 2322, 2323), 0
    for forbidden in ignore:
        token = drawing.read(drawing.draw(self.step(x, cache)[0], forbidden))
        run = run + 1 if token in silent else 0
        x = x[:, -1:] if run > 5 else self.embed_speech([token])
        yield token


MISTAKES: Mistakes = {
    "sos-of-end: The sequence begins with the id of the end of speech.": LLM.edits(
        "self.ids.sos", "self.ids.end", of=vars(CosyVoice3LM)["sos"].fget
    ),
    "task-of-fill: The text ends with the id that asks for more of it.": LLM.edits(
        "self.ids.task", "self.ids.fill", of=vars(CosyVoice3LM)["task_id"].fget
    ),
    "sos-and-task-exchanged: The ids of sos and task are exchanged.": PROMPT.edits(
        FRAME, "self.task_id, self.embed_text(words), self.sos"
    ),
    "framing-by-text-rows: sos and task id are looked up among the words, as if speech tokens were appended to them.": (
        PROMPT.edits(FRAME, "self.embed_text([self.speech_token_size, *words, self.speech_token_size + 2])")
    ),
    "framing-by-first-rows: sos and task id are rows 0 and 1, as those of CosyVoice2's own table are.": PROMPT.edits(
        FRAME, "self.embed_speech([0]), self.embed_text(words), self.embed_speech([1])"
    ),
    "special-rows-first: The 200 special rows of the speech embedding are taken to stand before those of the speech "
    "tokens.": LLM.edits(
        "embedding, ids)",
        "embedding, [(token + self.ids.count) % len(self.speech_embedding.weight) for token in ids])",
        of=SPEECH_LM.embed_speech,
    ),
    "head-with-bias: The speech head has a bias, as CosyVoice2's.": at("llm.llm_decoder", kind="leaf").behaves(
        lambda self, x: self(x) + mx.sin(mx.arange(self.weight.shape[0]))
    ),
    "special-ids-cut-off: Of the 200 special ids none but CosyVoice2's three are kept in the log-"
    "probabilities.": LLM.edits(
        ".astype(mx.float32)",
        ".astype(mx.float32) - 1e4 * (mx.arange(self.llm_decoder.weight.shape[0]) >= self.speech_token_size + 3)",
        of=SPEECH_LM.step,
    ),
    "sos-forbidden: Where speech must not end yet, sos is forbidden in place of the end of speech, as upstream has "
    "it.": LLM.edits("= config, ids", "= config, ids.as_upstream_forbids", of=RASSampler.__init__),
    "end-counted-from-the-last: The end of speech is looked for three ids before the last, where CosyVoice2 has it.": (
        LLM.edits("len(scores) - self.ids.count + self.ids.end", "len(scores) - 3", of=RASSampler.unending)
    ),
}

GENERATION: Mistakes = {
    "end-alone-stops: Only the end of speech ends it.": LOOP.edits(
        "token >= self.config.speech_token_size", "token == self.eos_token"
    ),
    "three-ids-stop: Of the special ids the first three alone end it, as CosyVoice2 has no more.": LOOP.edits(
        "token >= self.config.speech_token_size", "0 <= token - self.speech_token_size < 3"
    ),
    "lengths-count-the-prompt: The prompt's text is counted into the limits of length.": GENERATE.edits(
        "int(len(text) * min",
        "int(len([*text, *prompt_text]) * min",
        "int(len(text) * max",
        "int(len([*text, *prompt_text]) * max",
        of=SPEECH_LM.generate,
    ),
    "silence-unheard: Silence that is not spoken is kept from the language model, too: it does not go on from it.": (
        GENERATE.wraps(SPEECH_LM, "tokens", _silence_unheard)
    ),
    "blocks-exchanged: Fifteen ids of text go with five speech tokens.": BLOCKS.edits(
        "model.config.mix_ratio", "15, 5"
    ),
    "blocks-of-four: Four ids of text go with fifteen speech tokens.": BLOCKS.edits("model.config.mix_ratio", "4, 15"),
    "fill-of-cosyvoice2: More text is asked for by the third special id, as in CosyVoice2, which is the task id "
    "here.": (BISTREAM.by(lambda pair: setting(modules_at(pair, "llm"), fill_token=lambda fill: fill - 1))),
    "first-block-unprompted: The instruction is taken for a block of text, so the first speech is made without any: "
    "upstream's fault.": BLOCKS.edits("1 if unprompted_first_block else 1 + instruction", "1"),
    "instruction-in-blocks: The instruction is cut into blocks like any text, as in CosyVoice2, and does not come "
    "first as a whole.": BISTREAM.wraps(
        Bistream,
        "__init__",
        lambda original, self, *args, **options: original(self, *args, **{**options, "instruction": 0}),
    ),
    "text-block-again: A block of text that has been run stays among the text that waits.": BISTREAM.edits(
        "self.waiting_text[self.text_block :]", "self.waiting_text[1:]", of=Bistream._next_text
    ),
}

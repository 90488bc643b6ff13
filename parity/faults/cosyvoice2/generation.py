"""Mistakes in the loop that generates speech tokens, and in how text that arrives is interleaved with them."""

from __future__ import annotations

from mlx_cosyvoice.llm import bistream, drawing, lm
from parity.faults.base import Mistakes, at

GENERATE, BISTREAM = at("llm.generate"), at("llm.generate_bistream")
LOOP = lm.SpeechLM._generate

MISTAKES: Mistakes = {
    "min-len-ignored: The end of speech is allowed from the first token on.": GENERATE.edits(
        "index < min_len", "False", of=LOOP
    ),
    "max-len-one-more: One token more than the longest is spoken.": GENERATE.edits(
        "range(max_len)", "range(max_len + 1)", of=LOOP
    ),
    "special-ids-spoken: Only the end of speech ends it; other special ids are spoken.": GENERATE.edits(
        "token >= self.config.speech_token_size", "token == self.eos_token", of=LOOP
    ),
    "sampler-forgets: The sampler never knows what was said before.": at("llm.generate", "llm.generate_bistream").edits(
        "self.decoded.append(self._sampler(log_probs, self.decoded, ignore_eos))",
        "self.decoded = [*self.decoded, self._sampler(log_probs, [], ignore_eos)]",
        of=drawing.Called.draw,
    ),
    "fill-due-late: The fill token is due one token later than the block of speech is long.": BISTREAM.edits(
        "self.next_fill - len", "self.next_fill + 1 - len", of=bistream.Bistream._block
    ),
    "task-id-missing: No task id says that the text has ended.": BISTREAM.edits(
        ", self.model.task_id)", ")", of=bistream.Bistream.finish
    ),
}

"""The measures: each makes something of a case, and says what was heard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlx_cosyvoice.speech.decoders import Decoders
from mlx_cosyvoice.speech.sources import Text
from mlx_cosyvoice.text.normalize import TextNormalizer
from parity.nano.bench import Bench
from parity.nano.cases import Case
from parity.nano.speaking import say, word_by_word
from parity.nano.tape import Tape
from reference.nano.voices import RATE
from reference.nano.words import written

#: What a case gives.
Found = dict[str, Any]

#: Strings that make a text for interleaving, and a long one.
PAIR, JOINED = 2, 5
#: Seconds between two words of a text that is being written.
SLOWLY = 0.02


@dataclass(frozen=True)
class Measure:
    """`title`: what is heard. `joined`: held-out strings an utterance. `flite`: it needs true speech."""

    title: str
    of: Callable[[Bench, Case], Found]
    joined: int = 1
    flite: bool = False


def _spoken(bench: Bench, case: Case, text: Text, precision: str, **options: Any) -> Found:
    tts = bench.model(precision)
    voice = bench.voice(precision, case.prompt)
    try:
        with tts.stream(text, voice, seed=case.number, **options) as chunks:
            wave = np.concatenate(list(chunks))
    except ValueError as error:  # the language model said nothing, or what cannot be said
        return {"heard": "", "errors": len(case.words), "audio": 0.0, "raised": str(error)}
    return bench.heard(wave, tts.sample_rate, case)


def _zero_shot(precision: str = "float32", decoding: str = "offline") -> Callable[[Bench, Case], Found]:
    return lambda bench, case: _spoken(bench, case, written(case.words), precision, decoding=decoding)


def _arriving(bench: Bench, case: Case) -> Found:
    """As the package does it by default: text is spoken some sentences at a time."""
    return _spoken(bench, case, word_by_word(case.words, SLOWLY), "float32", decoding="offline")


def _interleaved(slowly: bool) -> Callable[[Bench, Case], Found]:
    """Upstream's order, which is taken of a text that is not normalized, or the plain one of the same text.

    After a prompt of two seconds the model would want 20 words before it says anything, and it learned of 12 at most:
    so the language model has no prompt, and says ten words, of which the first block of five comes before any speech.
    """

    def of(bench: Bench, case: Case) -> Found:
        text = word_by_word(case.words, SLOWLY) if slowly else written(case.words)
        return _spoken(bench, case, text, "float32", decoding="offline", mode="cross_lingual", normalize=False)

    return of


def _from_tokens(decoding: str) -> Callable[[Bench, Case], Found]:
    def of(bench: Bench, case: Case) -> Found:
        tts = bench.model("float32")
        assert tts.flow is not None
        assert tts.hift is not None
        decoder = Decoders(tts.flow, tts.hift).get(decoding, speed=1, n_timesteps=10)
        prompt = bench.prompt("float32", case.prompt)
        said = say(decoder, prompt, bench.tokens(case).tolist(), Tape(case.number).noise())
        return bench.heard(said.wave, tts.sample_rate, case)

    return of


def _recording(bench: Bench, case: Case) -> Found:
    return bench.heard(bench.wave(case), RATE, case)


def _pytorch(bench: Bench, case: Case) -> Found:
    normalizer = TextNormalizer(bench.model("float32").text_tokenizer)
    text, transcript = "".join(normalizer(written(case.words))), normalizer.whole(bench.transcripts[case.prompt])
    recording, tape = bench.recording(case.prompt), Tape(case.number)
    tokens = bench.reader.tokens(recording, transcript, text, tape)
    return bench.heard(bench.reader.wave(recording, tokens, tape), 24000, case)


def _pytorch_from_tokens(bench: Bench, case: Case) -> Found:
    recording, tokens = bench.recording(case.prompt), bench.tokens(case).tolist()
    return bench.heard(bench.reader.wave(recording, tokens, Tape(case.number)), 24000, case)


def _mel(bench: Bench, case: Case) -> Found:
    """Mean and mean square of both mels, and the root mean square of their difference."""
    made, true = (mel.astype(np.float64) for mel in bench.mels(case))
    sides = {
        name: {"mean": mel.mean(), "square": np.square(mel).mean()} for name, mel in (("made", made), ("true", true))
    }
    return {"frames": len(made), **sides, "rms": float(np.sqrt(np.square(made - true).mean()))}


#: By name, in the order in which they are measured.
MEASURES: Mapping[str, Measure] = {
    "recording": Measure("flite itself", _recording, flite=True),
    "tokens": Measure("true tokens, offline", _from_tokens("offline"), flite=True),
    "zero-shot": Measure("zero-shot, offline", _zero_shot()),
    "zero-shot-pytorch": Measure("zero-shot by PyTorch, same draws", _pytorch),
    "mel": Measure("mel of true tokens", _mel, flite=True),
    "tokens-official": Measure("true tokens, official", _from_tokens("official"), flite=True),
    "tokens-incremental": Measure("true tokens, incremental", _from_tokens("incremental"), flite=True),
    "tokens-pytorch": Measure("true tokens by PyTorch, same draws", _pytorch_from_tokens, flite=True),
    "zero-shot-official": Measure("zero-shot, official", _zero_shot(decoding="official")),
    "zero-shot-incremental": Measure("zero-shot, incremental", _zero_shot(decoding="incremental")),
    "zero-shot-8bit": Measure("zero-shot, 8 bits", _zero_shot("8 bits")),
    "zero-shot-4bit": Measure("zero-shot, 4 bits", _zero_shot("4 bits")),
    "zero-shot-arriving": Measure("zero-shot, text word by word", _arriving),
    "bistream": Measure("10 digits word by word, interleaved", _interleaved(slowly=True), PAIR),
    "plain": Measure("the same 10 digits at once", _interleaved(slowly=False), PAIR),
    "long": Measure("25 digits of true tokens, offline", _from_tokens("offline"), JOINED, flite=True),
    "long-official": Measure("25 digits of true tokens, official", _from_tokens("official"), JOINED, flite=True),
    "long-incremental": Measure(
        "25 digits of true tokens, incremental", _from_tokens("incremental"), JOINED, flite=True
    ),
    "zero-shot-float16": Measure("zero-shot, float16", _zero_shot("float16")),
    "zero-shot-bfloat16": Measure("zero-shot, bfloat16", _zero_shot("bfloat16")),
}

"""What is around the networks: what the language model is given to read, which tokens are passed on, and the noise.

The text tokenizer has a stage of its own: here both sides use the reference's. The language model's tokens are made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from mlx_parity.localization.raised import part
from mlx_parity.sides import Side
from mlx_parity.tape import Tape
from parity.stages.base import Arrays, Given, Outputs, Stage

if TYPE_CHECKING:
    from parity.pair import Pair

INSTRUCTION = "Speak slowly and softly."
#: Where the noise of a piece begins, in samples, and how many are looked at.
STARTS, SAMPLES = (0, 479, 30000), 480

#: What the reference asks for: modes and beginnings of noise, if its family has any, and the tokens that are made up.
MODES, NOISE, MADE_UP = "speech_modes", "speech_noise", "speech_made_up"


class Speaking(NamedTuple):
    """The family of a side, and the reference's tokenizer."""

    family: Any
    encode: Callable[[str], list[int]]


class Speech(Stage):
    name = "speech"
    title = "Around the networks"
    needs = ("text", "transcript", "prompt_token")
    modes = (None,)
    owners: ClassVar[Mapping[str, str]] = {
        **{
            f"{mode}.{output}": "speech.model_input"
            for mode in ("zero_shot", "cross_lingual", "instruct2")
            for output in ("text", "speech", "opening")
        },
        "passed_on": "speech.silence",
        **dict.fromkeys(("rand_ini", *(f"noise_{start}" for start in STARTS)), "speech.source_noise"),
    }

    def suspect(self, output: str) -> str:
        return self.owners[output]

    def of_reference(self, pair: Pair, dtype: str) -> Any:
        return Speaking(pair.reference.family, _encode(pair))

    def of_model(self, pair: Pair) -> Any:
        return Speaking(pair.model.family, _encode(pair))

    def prepare(self, side: Side, given: Given) -> dict[str, Any]:
        family = side.module.family
        return {
            MODES: ("zero_shot", "cross_lingual", "instruct2") if family.reads else (),
            NOISE: STARTS if family.source_noise else (),
            MADE_UP: _made_up(given.tape, family.silent),
        }

    def call(self, side: Side, given: Given) -> Outputs:
        made = Outputs()
        for name, value in (_of_package if side.name == "mlx" else _of_reference)(side, given):
            kind = made.tokens if value.dtype.kind == "i" else made.tensors
            kind[name] = value
        return made


def _encode(pair: Pair) -> Callable[[str], list[int]]:
    encode: Callable[[str], list[int]] = pair.reference.component("text_tokenizer", "float32").encode
    return encode


def _made_up(tape: Tape, silent: Sequence[int]) -> list[int]:
    """Speech tokens with runs of silence, of all kinds and of lengths up to 9, one of them at the end."""
    spoken = (50 + 100 * tape.uniform("speech/spoken", (20,))).astype(np.int64).tolist()
    kinds = list(silent) or [0]
    tokens, place = list[int](), 0
    for length, word in zip((9, 1, 2, 5, 6, 4, 3, 7, 8, 0, 5, 5, 5), spoken, strict=False):
        tokens += [word, *(kinds[(place + step) % len(kinds)] for step in range(length))]
        place += length
    return [*tokens, spoken[-1], *kinds[:8]]


def _row(values: Sequence[int]) -> np.ndarray:
    return np.array([values], np.int64).reshape(1, -1)


def _of_reference(side: Side, inputs: Arrays) -> Iterator[tuple[str, np.ndarray]]:
    from reference.silence import passed_on

    family, encode = side.module
    speech = inputs["prompt_token"][0].tolist()
    for mode in inputs[MODES]:
        read = family.reads(mode, str(inputs["text"]), str(inputs["transcript"]), INSTRUCTION, encode)
        yield f"{mode}.text", _row(read.text)
        yield f"{mode}.speech", _row(speech if read.speech else [])
        yield f"{mode}.opening", _row([read.opening])
    yield "passed_on", _row(passed_on(inputs[MADE_UP], family.silent))
    if inputs[NOISE]:
        rand_ini, noise = family.source_noise(max(STARTS) + SAMPLES)
        yield "rand_ini", side.numpy(rand_ini)
        for start in inputs[NOISE]:
            yield f"noise_{start}", side.numpy(noise[:, start : start + SAMPLES])


class _ReadBack:
    """Stands in for the language model: notes what it is to read, and says made-up tokens."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens, self.text, self.speech = tokens, list[int](), list[int]()

    def generate(
        self, text: Sequence[int], prompt_text: Sequence[int], speech: Sequence[int], *_: Any, **__: Any
    ) -> Any:
        self.text, self.speech = [*prompt_text, *text], list(speech)
        return iter(self.tokens)


def _of_package(side: Side, inputs: Arrays) -> Iterator[tuple[str, np.ndarray]]:
    from mlx_cosyvoice.families.declaration import imported
    from mlx_cosyvoice.speech import utterances
    from mlx_cosyvoice.speech.metrics import Metrics
    from mlx_cosyvoice.voices import Voice

    family, encode = side.module
    token = inputs["prompt_token"].astype(np.int32)
    sound = np.zeros((1, 2 * token.shape[1], 80), np.float32), np.ones((1, 192), np.float32)
    voice = Voice(token, *sound, transcript=str(inputs["transcript"]))
    make = imported(family.model_input)
    options: Any = utterances.TokenOptions(sampler=lambda *_: 0)
    made_up: Any = inputs[MADE_UP]
    llm: Any = _ReadBack(made_up)
    # as much of a tokenizer as is asked for, and no prefixes, as of a language model that runs nothing
    tokenizer: Any = SimpleNamespace(encode=encode)
    prefixes: Any = SimpleNamespace(get=lambda *_: None)
    passed = list(utterances.cut_short(made_up, family.silence))
    for mode in inputs[MODES]:
        with part("speech.model_input"):
            said = INSTRUCTION if mode == "instruct2" else None
            shared = {"encode": encode, "normalize": str, "system_prompt": family.system_prompt}
            prompt = make(voice, mode, instruction=said, **shared)
            speaking = utterances.Utterances(llm, tokenizer, prompt, prefixes, options, family.silence)
            (tokens,) = speaking.of_segments([str(inputs["text"])], Metrics())
            passed = list(tokens)
        yield f"{mode}.text", _row(llm.text)
        yield f"{mode}.speech", _row(llm.speech)
        yield f"{mode}.opening", _row([prompt.opening])
    yield "passed_on", _row(passed)
    if inputs[NOISE]:
        with part("speech.source_noise"):
            import mlx.core as mx

            draw = imported(family.source_noise)(mx.random.key(0), 9)
            for start in inputs[NOISE]:
                rand_ini, noise = draw(SAMPLES, start)
                yield f"noise_{start}", side.numpy(noise)
            yield "rand_ini", side.numpy(rand_ini)

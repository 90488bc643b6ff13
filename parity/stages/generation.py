"""The loop that generates speech tokens: what it hands to the language model, and when it ends.

What the model would answer is written down beforehand, so that the loop comes to every one of its branches: an end of
speech that is forbidden yet, tokens that repeat, other special ids, the limits of length, and text that arrives in
pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from unittest import mock

import numpy as np

from mlx_parity.intercept import ModuleCall, intercepted
from mlx_parity.localization.raised import part
from mlx_parity.sides import Side
from mlx_parity.tape import Tape
from parity.sides import token_ids
from parity.stages.base import Given, Outputs
from parity.stages.llm import sampler
from parity.stages.loop import Loop

if TYPE_CHECKING:
    from parity.pair import Pair


class Networks(NamedTuple):
    """What the loop runs."""

    llm: Any


@dataclass(frozen=True)
class Script:
    """One run of the loop.

    Attributes:
        text: how many text tokens.
        likely: how likely (in nats above the rest) which id is from which step on: (step, id, nats); the id is a speech
            token or, in words, which of the official special ids it is.
        options: of the call.
        bistream: the text arrives token by token.
        prompt: how many text and speech tokens of the prompt.
        prefix: MLX goes on after what it has run of the voice.
    """

    text: int
    likely: tuple[tuple[int, int | str, float], ...]
    options: Mapping[str, float]
    bistream: bool = False
    prompt: tuple[int, int] = (3, 4)
    prefix: bool = False


END, FILL, UNLIKELY = "eos_token", "fill_token", -30.0
#: The official special ids, in this order.
IDS = "generation_ids"
#: Speech tokens of which some models pass on few in a row, but go on from all.
SILENT = (1, 2, 28, 29, 55)
SCRIPTS = {
    "end_forbidden": Script(4, ((0, END, 12.0),), {}),
    "end_allowed": Script(3, ((7, END, 30.0),), {"min_token_text_ratio": 1.5}),
    "longest": Script(3, ((0, END, -30.0),), {"min_token_text_ratio": 0, "max_token_text_ratio": 4.5}),
    "usual_longest": Script(1, ((0, END, -30.0),), {}),
    "repeats": Script(8, ((0, 7, 9.0), (0, 8, 7.0)), {"max_token_text_ratio": 4}),
    "other_special": Script(9, ((6, FILL, 30.0),), {}),
    "silence": Script(2, (*((0, token, 14.0) for token in SILENT), (16, END, 40.0)), {}),
    "after_prefix": Script(5, ((11, END, 30.0),), {}, prefix=True),
    "arriving": Script(
        17, ((0, END, -30.0), (3, FILL, 30.0), (4, FILL, -30.0), (60, END, 60.0)), {}, bistream=True, prompt=(4, 9)
    ),
    "arriving_for_text_alone": Script(
        12, ((0, END, -30.0), (0, FILL, -30.0), (40, END, 60.0)), {}, bistream=True, prompt=(2, 0)
    ),
    "arriving_after_instruction": Script(
        12, ((0, END, -30.0), (0, FILL, -30.0), (40, END, 60.0)), {"instruction": 3}, bistream=True, prompt=(5, 0)
    ),
    "arriving_after_long_prompt": Script(
        22, ((0, END, -30.0), (0, FILL, -30.0), (36, END, 60.0)), {}, bistream=True, prompt=(6, 31)
    ),
}


#: What generates, and must refuse to where there is no text.
METHODS = ("generate", "generate_bistream")


class Generation(Loop):
    name = "generation"
    title = "Generation"
    networks = Networks
    runs = ("llm.speech_embedding", "llm.llm_embedding", "llm.llm.model.model.embed_tokens")
    modes = (None,)
    owners: ClassVar[Mapping[str, str]] = {
        f"{name}.{part}": "llm.generate_bistream" if script.bistream else "llm.generate"
        for name, script in SCRIPTS.items()
        for part in ("token", "token_in_graph", "input", "cache")
    } | {f"{method}.refuses_nothing": f"llm.{method}" for method in METHODS}

    def suspect(self, output: str) -> str:
        return self.owners[output]

    def of_reference(self, pair: Pair, dtype: str) -> Any:
        """In float64 the network is that of float32: of all that it has, only rows of its embeddings are looked up."""
        return Networks(pair.reference.component("llm", "float32" if dtype == "float64" else pair.dtype("llm")))

    def prepare(self, side: Side, given: Given) -> dict[str, Any]:
        return {IDS: np.array([[getattr(side.module.llm, name) for name in (END, FILL)]])}

    def call(self, side: Side, given: Given) -> Outputs:
        outputs = Outputs()
        for name, script in SCRIPTS.items():
            ids = dict(zip((END, FILL), given[IDS][0].tolist(), strict=True))
            with part(self.owners[f"{name}.token"]):
                token, steps, caches = _run(side, script, given.tape, name, ids)
                if not script.bistream:
                    outputs.tokens[f"{name}.token_in_graph"] = np.array(
                        [_in_graph(side, script, given.tape, name, ids, token)], np.int64
                    )
            outputs.tensors[f"{name}.input"] = np.concatenate(steps, axis=1)
            outputs.tokens[f"{name}.token"] = np.array([token], np.int64)
            outputs.tokens[f"{name}.cache"] = np.array([[caches]])
        for method in METHODS:
            with part(f"llm.{method}"):
                outputs.tokens[f"{method}.refuses_nothing"] = np.array([[_refuses_nothing(side, method)]], np.int64)
        return outputs


def _refuses_nothing(side: Side, method: str) -> bool:
    """Whether no text is an error, and not a reason to speak without any."""
    llm, nothing = side.module.llm, token_ids(side, np.zeros((1, 0), np.int64))
    draw = sampler(side.holding(llm), [0.5, 0.5])
    try:
        next(iter(getattr(llm, method)([] if method == "generate_bistream" else nothing, nothing, nothing, draw)))
    except ValueError:
        return True
    return False


def _in_graph(
    side: Side, script: Script, tape: Tape, name: str, ids: Mapping[str, int], called: list[int]
) -> list[int]:
    """The tokens where MLX draws them as a part of its graph, as on a device; the reference only calls its sampler."""
    if side.name == "pytorch":
        return called
    from mlx_cosyvoice.llm import drawing

    with mock.patch.object(drawing, "in_cpu_form", return_value=False):
        return _run(side, script, tape, name, ids)[0]


def _run(
    side: Side, script: Script, tape: Tape, name: str, ids: Mapping[str, int]
) -> tuple[list[int], list[np.ndarray], int]:
    """With special ids by name: the tokens, what was handed to every step [1, L, H], and how many caches there were."""
    llm = side.module.llm
    steps: list[np.ndarray] = []
    caches: dict[int, Any] = {}

    def answer(call: ModuleCall) -> Any:
        x, cache = call.args
        cache = cache or object()
        caches[id(cache)] = cache
        row = side.plain(_row(llm, script, tape, name, ids, len(steps)))
        steps.append(side.numpy(x))
        return (row, cache) if side.name == "pytorch" else row[None]

    with intercepted({"llm": llm}, answer, "step"):
        token = list(_tokens(side, script, tape, name))
    if script.prefix and side.name == "pytorch":
        steps[0] = steps[0][:, 1 + script.prompt[0] :]
    if not script.bistream:  # a device may have begun with one more
        steps = steps[: len(token) + 1]
    return token, steps, len(caches)


def _tokens(side: Side, script: Script, tape: Tape, name: str) -> Iterator[int]:
    llm, counts = side.module.llm, (script.text, *script.prompt)
    text, prompt_text, prompt_token = (
        (50 * tape.uniform(f"generation/{name}/{part}", (1, count))).astype(np.int64)
        for part, count in zip(("text", "prompt_text", "prompt_token"), counts, strict=True)
    )
    draw = sampler(side.holding(llm), tape.uniform(f"generation/{name}/draws", (400,)).tolist())
    prompt, options = (
        (token_ids(side, prompt_text), token_ids(side, prompt_token), draw),
        dict[str, Any](script.options),
    )
    if not script.bistream:
        if script.prefix and side.name == "mlx":
            options["prefix"] = llm.prefill_prefix(prompt[0])
        return llm.generate(token_ids(side, text), *prompt, **options)
    if side.name == "mlx":
        return llm.generate_bistream(token_ids(side, text), *prompt, **options)
    return llm.generate_bistream(
        [token_ids(side, text[:, at : at + 1]) for at in range(script.text)], *prompt, **options
    )


def _row(llm: Any, script: Script, tape: Tape, name: str, ids: Mapping[str, int], step: int) -> np.ndarray:
    """Log-probabilities [V] of a step. A special id is likely only where the script says so."""
    logits = 2 * tape.normal(f"generation/{name}/step{step}", (llm.llm_decoder.weight.shape[0],))
    logits[llm.speech_token_size :] = UNLIKELY
    for first, token, nats in script.likely:
        if step >= first:
            logits[ids[token] if isinstance(token, str) else token] = nats
    return logits - np.log(np.exp(logits).sum(dtype=np.float64)).astype(np.float32)

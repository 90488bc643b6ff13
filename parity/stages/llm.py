"""Text to speech tokens: log-probabilities along the reference's own path, and what each side samples.

Log-probabilities and sampling are judged apart: the former have their noise floor, and from the same log-probabilities
both samplers must draw the same (`sampler_trials`). What each side draws from its own (`speech_token`) may then differ
where rounding decides, and nowhere else: see `LanguageModel.near_ties`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mlx_parity.compare import EPSILON, MINIMUM_STEPS
from mlx_parity.sides import Side
from mlx_parity.tape import Tape
from parity.sides import token_ids
from parity.stages.base import Arrays, Given, Outputs, Sides, Stage
from parity.stages.sampler_trials import Draw, make_trials

if TYPE_CHECKING:
    from parity.pair import Pair

#: Uniform numbers of a token: one for the nucleus, one for the draw after a repetition.
DRAWS = 2

#: Positions that are run at once: the prompt's speech is cut or repeated, so that the cache's first block of 256 is
#: full some steps later.
POSITIONS, LONG = 250, "llm_prompt_token"

#: The prompt and the first token after it are what modules are compared in; the log-probabilities after the prompt.
KEPT_STEPS, FIRST = 2, "first_log_probs"

#: What the MLX sampler has drawn in the trials, once it was tried.
DRAWN = "sampler_drawn"


def prompt(side: Side, inputs: Arrays) -> Any:
    """The embedded sequence that speech tokens go on from."""
    return side.module.prompt(*_ids(side, inputs))


def _ids(side: Side, inputs: Arrays) -> list[Any]:
    """Those of the text, the prompt's text, and its speech, of which `LanguageModel` has made more."""
    *text, speech = LanguageModel.needs
    return [token_ids(side, array) for array in (*map(inputs.__getitem__, text), inputs.get(LONG, inputs[speech]))]


def step(side: Side, x: Any, cache: Any = None) -> tuple[Any, Any]:
    """Log-probabilities [V] of the token after [1, L, H] more positions, and the cache that holds them too."""
    if side.name == "pytorch":
        return side.module.step(x, cache)
    cache = side.module.make_cache() if cache is None else cache
    return side.module.step(x, cache)[0], cache


def generate(side: Side, inputs: Arrays, draw: Any) -> Iterator[int]:
    """Speech tokens, drawn by `draw` from the side's log-probabilities."""
    return side.module.generate(*_ids(side, inputs), draw)


def drop_text_head(llm: Any) -> None:
    """Let the reference's language model no longer compute the text logits that nobody reads.

    Upstream does, and so the reference does too; they are a quarter of its work.
    """
    import torch

    llm.llm.model.lm_head = torch.nn.Identity()


def sampler(side: Side, uniforms: Iterable[float]) -> Any:
    """The side's sampler, with the numbers that it draws by."""
    if side.name == "pytorch":
        return Sampling.of(side.module).sampler(uniforms)
    from mlx_cosyvoice.llm import RASSampler

    return RASSampler(side.module.config.sampling, uniforms, side.module.ids)


@dataclass(frozen=True)
class Sampling:
    """How the reference's language model draws: by which settings, how many special ids it has, and which ends."""

    settings: tuple[tuple[str, Any], ...]
    special: int
    end: int

    @classmethod
    def of(cls, llm: Any) -> Sampling:
        return cls(tuple(sorted(llm.sampling.items())), llm.special, llm.eos)

    def sampler(self, uniforms: Iterable[float]) -> Any:
        from reference.sampling import RASSampler

        return RASSampler(dict(self.settings), uniforms, self.end - self.special)


class LanguageModel(Stage):
    """Both sides are fed the tokens that the reference sampled, so that one flipped token does not hide the rest.

    At last the prompt is run once more, by MLX in two parts: what all utterances of a voice begin with by itself.
    """

    name = "llm"
    title = "Language model"
    component = "llm"
    needs = ("text_token", "prompt_text_token", "prompt_token")
    gives = ("log_probs", "speech_token")
    details = (*Stage.details, Sampling)
    owners: ClassVar[Mapping[str, str]] = {"log_probs_after_prefix": "llm.prefill_prefix"}

    def of_reference(self, pair: Pair, dtype: str) -> Any:
        llm = super().of_reference(pair, dtype)
        drop_text_head(llm)
        return llm

    def keep(self, path: str, call: int) -> bool:
        # the words of the prompt are looked up in one call
        return call < (1 if path.endswith(".embed_tokens") else KEPT_STEPS)

    def prepare(self, side: Side, given: Given) -> dict[str, Any]:
        given = given.adding({LONG: _long(given)})
        draws = [given.tape.uniform(f"llm/step{number}", (DRAWS,)) for number in range(given.settings.llm_steps)]
        left = iter(draws)

        rows: list[np.ndarray] = []

        def sample(logp: Any, decoded: list[int], ignore_eos: bool) -> int:
            rows.append(side.numpy(logp))
            token, speech = sampler(side, next(left))(logp, decoded, ignore_eos), side.module.speech_token_size
            # trained weights may end at once, as their prompt is not what they learned: the walk goes on
            return token if token < speech else int(logp[:speech].argmax())

        walk = list(islice(generate(side, given, sample), given.settings.llm_steps))
        found = {"walk": np.array([walk], np.int64), "walk_draws": np.array([draws[: len(walk)]], np.float64)}
        return {**found, LONG: given[LONG], FIRST: rows[0]}

    def call(self, side: Side, given: Given) -> Outputs:
        walk = given["walk"][0].tolist()
        rows = [*_along(side, given, walk)]
        draws = (sampler(side, uniforms) for uniforms in given["walk_draws"][0].tolist())
        picked = [draw(row, walk[:number], True) for number, (draw, row) in enumerate(zip(draws, rows, strict=True))]
        rows = [side.numpy(row) for row in rows]
        tensors = {"log_probs": np.stack(rows)[None]}
        if FIRST in given:
            tensors["log_probs_after_prefix"] = _after_prefix(side, given, rows[0])
        drawn = given[DRAWN] if DRAWN in given else _trials(side, given)[None]
        return Outputs(
            tensors=tensors,
            tokens={"speech_token": np.array([picked], np.int64), "sampler": drawn},
            details=Sampling.of(side.module) if side.name == "pytorch" else None,
        )

    def publish(self, outputs: Outputs, inputs: Arrays) -> dict[str, np.ndarray]:
        # what is drawn may also be the end
        return {"log_probs": outputs.tensors["log_probs"], "speech_token": inputs["walk"]}

    def for_isolation(self, given: Given, expected: Outputs) -> tuple[Given, Outputs]:
        """The steps whose calls are kept."""
        cut = {name: given[name][:, :KEPT_STEPS] for name in ("walk", "walk_draws")}
        tensors = {"log_probs": expected.tensors["log_probs"][:, :KEPT_STEPS]}
        tokens = expected.tokens | {"speech_token": expected.tokens["speech_token"][:, :KEPT_STEPS]}
        return given.without(FIRST).adding(cut), replace(expected, tensors=tensors, tokens=tokens)

    def known(self, isolated: Outputs) -> dict[str, Any]:
        return {DRAWN: isolated.tokens["sampler"]}

    def near_ties(self, name: str, sides: Sides, given: Given, dtype: str, factor: float) -> np.ndarray:
        """Where MLX may draw another token than the reference.

        That is where the right sampler draws MLX's token from MLX's log-probabilities, and those of all candidates
        are within the noise of the exact ones: then the ranks, the cut of the nucleus, the draw or the test for
        repetitions really were close enough for rounding to decide. `sampler` draws both times from the same
        log-probabilities, which excuses nothing.
        """
        drawn = sides.actual.tokens[name]
        excused = np.zeros(drawn.shape, bool)
        flips = np.flatnonzero(drawn != sides.expected.tokens[name]).tolist()
        if name != "speech_token" or not flips:
            return excused
        import torch

        rows = [np.asarray(side.tensors["log_probs"][0], np.float64) for side in (sides.actual, sides.exact)]
        sampling, walk = sides.expected.details, given["walk"][0].tolist()
        noise = factor * log_prob_noise(sides, dtype)
        for step in flips:
            mine, exact = (row[step] for row in rows)
            if not np.isfinite(mine).all():
                continue
            right = sampling.sampler(given["walk_draws"][0, step])
            likely = np.union1d(_candidates(mine, sampling), _candidates(exact, sampling))
            likely = np.union1d(likely, [side.tokens[name][0, step] for side in (sides.actual, sides.expected)])
            close = bool(np.abs(mine - exact)[likely].max() <= noise)
            excused[0, step] = close and right(torch.from_numpy(mine), walk[:step], True) == drawn[0, step]
        return excused


def _along(side: Side, inputs: Arrays, walk: list[int]) -> Iterator[Any]:
    """Log-probabilities [V] of the token after the prompt, and after each of these but the last.

    Steps that nobody looks into are one of many positions where the order of the sums makes no difference.
    """
    x, cache = prompt(side, inputs), None
    stepwise = KEPT_STEPS if side.exact else len(walk)
    for token in walk[:stepwise]:
        logp, cache = step(side, x, cache)
        yield logp
        x = side.module.speech_embedding(side.plain(np.array([[token]])))
    if stepwise < len(walk):
        x = side.module.speech_embedding(side.plain(np.array([walk[stepwise - 1 : -1]])))
        hidden, _ = side.module.forward_one_step(x, cache)
        yield from (side.module.log_probs(hidden[:, : at + 1])[0] for at in range(hidden.shape[1]))


def _long(inputs: Arrays) -> np.ndarray:
    """`prompt_token`, so long that `POSITIONS` are run at once; of a text that has as many by itself, one."""
    words = inputs["text_token"].shape[1] + inputs["prompt_text_token"].shape[1]
    token = inputs["prompt_token"].reshape(-1)
    return np.resize(token, max(1, POSITIONS - words - 2) if token.size else 0)[None]


def _after_prefix(side: Side, inputs: Arrays, at_once: np.ndarray) -> np.ndarray:
    """The reference's log-probabilities [V] after the prompt, and what running it in two parts changes in them."""
    if side.name == "pytorch":
        return at_once
    x = prompt(side, inputs)
    prefix = side.module.prefill_prefix(token_ids(side, inputs["prompt_text_token"]))
    rest = x[:, prefix.offset :]
    return inputs[FIRST] + side.numpy(step(side, rest, prefix.copy(POSITIONS))[0]) - at_once


def log_prob_noise(sides: Sides, dtype: str) -> float:
    """By how many nats the reference in the working dtype misses the exact log-probability of a candidate, at most."""
    working, exact = (np.asarray(side.tensors["log_probs"][0], np.float64) for side in (sides.expected, sides.exact))
    noise = 0.0
    for mine, right in zip(working, exact, strict=True):
        likely = _candidates(right, sides.expected.details)
        smallest = MINIMUM_STEPS * EPSILON[dtype] * float(np.abs(right[likely]).max())
        noise = max(noise, smallest, float(np.abs(mine - right)[likely].max()))
    return noise


def _candidates(log_probs: np.ndarray, sampling: Sampling) -> np.ndarray:
    """The ids of the nucleus where the end of speech is forbidden, as it is along the walk."""
    import torch

    allowed = torch.from_numpy(log_probs.copy())
    allowed[sampling.end - sampling.special] = -torch.inf
    return sampling.sampler(()).candidates(allowed)[0].numpy()


def _trials(side: Side, given: Given) -> np.ndarray:
    """What a side's sampler draws in the trials. The reference's draws the same in every dtype, so it is asked once."""
    rows = given.settings.sampler_rows
    if side.name == "pytorch":
        return _reference_trials(given.seed, rows, Sampling.of(side.module))
    ids = side.module.ids
    return make_trials(given.tape, rows, ids.count, ids.end).tokens(lambda uniforms: sampler(side, uniforms))


@lru_cache(maxsize=8)
def _reference_trials(seed: int, rows: int, sampling: Sampling) -> np.ndarray:
    import torch

    def make(uniforms: Iterable[float]) -> Draw:
        draw = sampling.sampler(uniforms)
        return lambda row, decoded, ignore_eos: draw(torch.from_numpy(row), decoded, ignore_eos)

    return make_trials(Tape(seed), rows, sampling.special, sampling.end).tokens(make)

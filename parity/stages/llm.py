"""Text to speech tokens (Qwen2LM): log-probabilities along the reference's own path, and what each side samples.

Log-probabilities and sampling are judged apart: the former have their noise floor, and from the same log-probabilities
both samplers must draw the same (`sampler_trials`). What each side draws from its own (`speech_token`) may then differ
where rounding decides, and nowhere else: see `LanguageModel.near_ties`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

import mlx.core as mx
import numpy as np
import torch

from mlx_cosyvoice.llm import RASSampler
from parity.compare import EPSILON, MINIMUM_STEPS
from parity.stages.base import Arrays, Outputs, Settings, Sides, Stage, tensor
from parity.stages.sampler_trials import make_trials
from parity.tape import Tape
from reference import sampling

#: Uniform numbers of a token: one for the nucleus, one for the draw after a repetition.
DRAWS = 2


class LanguageModel(Stage):
    """Both sides are fed the tokens that the reference sampled, so that one flipped token does not hide the rest."""

    name = "llm"
    title = "Language model"
    component = "llm"
    needs = ("text_token", "prompt_text_token", "prompt_token")
    gives = ("speech_token",)

    def keep(self, path: str, call: int) -> bool:
        return call <= 1  # the prompt, and the first step after it

    @staticmethod
    def _draws(tape: Tape, step: int) -> np.ndarray:
        return tape.uniform(f"llm/step{step}", (DRAWS,))

    def prepare(self, module: Any, given: Arrays, tape: Tape, settings: Settings, dtype: torch.dtype) -> dict[str, Any]:
        step = iter(range(settings.llm_steps))

        def sampler(logp: torch.Tensor, decoded: list[int], ignore_eos: bool) -> int:
            return sampling.RASSampler(module.sampling, self._draws(tape, next(step)))(logp, decoded, ignore_eos)

        prompt = (tensor(given[k]) for k in ("text_token", "prompt_text_token", "prompt_token"))
        walk = list(islice(module.generate(*prompt, sampler), settings.llm_steps))
        draws = [self._draws(tape, step) for step in range(len(walk))]
        return {"walk": np.array([walk], np.int64), "walk_draws": np.array([draws], np.float64)}

    def run_reference(self, module: Any, given: Arrays, tape: Tape, settings: Settings, dtype: torch.dtype) -> Outputs:
        x = module.prompt(*(tensor(given[k]) for k in ("text_token", "prompt_text_token", "prompt_token")))
        cache, rows, picked = None, [], []
        walk = given["walk"][0].tolist()
        for step, token in enumerate(walk):
            hidden, cache = module.forward_one_step(x, cache)
            logp = module.log_probs(hidden).reshape(-1)
            rows.append(logp.to(torch.float64).numpy())
            sampler = sampling.RASSampler(module.sampling, given["walk_draws"][0, step])
            picked.append(sampler(logp, walk[:step], True))
            x = module.speech_embedding(torch.tensor([[token]]))
        outputs = self._outputs(rows, picked, _reference_trials(tape.seed, tuple(sorted(module.sampling.items()))))
        outputs.details = module.sampling
        return outputs

    def run_model(self, module: Any, given: Arrays, tape: Tape, settings: Settings) -> Outputs:
        x = module.prompt(*(given[k][0].tolist() for k in ("text_token", "prompt_text_token", "prompt_token")))
        cache, rows, picked = module.make_cache(), [], []
        walk = given["walk"][0].tolist()
        for step, token in enumerate(walk):
            logp = module.step(x, cache).reshape(-1)
            rows.append(np.array(logp))
            sampler = RASSampler(module.config.sampling, given["walk_draws"][0, step].tolist())
            picked.append(sampler(logp, walk[:step], True))
            x = module.speech_embedding(mx.array([[token]]))
        trials = make_trials(tape).tokens(lambda uniforms: RASSampler(module.config.sampling, uniforms))
        return self._outputs(rows, picked, trials)

    @staticmethod
    def _outputs(rows: list[np.ndarray], picked: list[int], trials: np.ndarray) -> Outputs:
        return Outputs(
            tensors={"log_probs": np.stack(rows)[None]},
            tokens={"speech_token": np.array([picked], np.int64), "sampler": trials[None]},
        )

    def publish(self, outputs: Outputs, given: Arrays) -> dict[str, np.ndarray]:
        return {**outputs.tensors, "speech_token": outputs.tokens["speech_token"]}

    def near_ties(self, name: str, sides: Sides, given: Arrays, dtype: str, factor: float) -> np.ndarray:
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
        rows = [np.asarray(side.tensors["log_probs"][0], np.float64) for side in (sides.actual, sides.exact)]
        config, walk = sides.expected.details, given["walk"][0].tolist()
        noise = factor * log_prob_noise(sides, dtype)
        for step in flips:
            mine, exact = (row[step] for row in rows)
            if not np.isfinite(mine).all():
                continue
            right = sampling.RASSampler(config, given["walk_draws"][0, step])
            likely = np.union1d(_candidates(mine, config), _candidates(exact, config))
            likely = np.union1d(likely, [side.tokens[name][0, step] for side in (sides.actual, sides.expected)])
            close = bool(np.abs(mine - exact)[likely].max() <= noise)
            excused[0, step] = close and right(torch.from_numpy(mine), walk[:step], True) == drawn[0, step]
        return excused


def log_prob_noise(sides: Sides, dtype: str) -> float:
    """By how many nats the reference in the working dtype misses the exact log-probability of a candidate, at most."""
    working, exact = (np.asarray(side.tensors["log_probs"][0], np.float64) for side in (sides.expected, sides.exact))
    noise = 0.0
    for mine, right in zip(working, exact, strict=True):
        likely = _candidates(right, sides.expected.details)
        smallest = MINIMUM_STEPS * EPSILON[dtype] * float(np.abs(right[likely]).max())
        noise = max(noise, smallest, float(np.abs(mine - right)[likely].max()))
    return noise


def _candidates(log_probs: np.ndarray, config: Mapping[str, Any]) -> np.ndarray:
    """The ids of the nucleus where the end of speech is forbidden, as it is along the walk."""
    allowed = torch.from_numpy(log_probs.copy())
    allowed[-3] = -torch.inf
    return sampling.RASSampler(config, ()).candidates(allowed)[0].numpy()


@lru_cache(maxsize=8)
def _reference_trials(seed: int, config: tuple[tuple[str, Any], ...]) -> np.ndarray:
    """What the reference's sampler draws in the trials: the same in every dtype, so drawn once."""

    def make(uniforms: Any) -> Any:
        sampler = sampling.RASSampler(dict(config), uniforms)
        return lambda row, decoded, ignore_eos: sampler(torch.from_numpy(row), decoded, ignore_eos)

    return make_trials(Tape(seed)).tokens(make)

"""Text to speech tokens (Qwen2LM): log-probabilities along the reference's own path, and what each side samples."""

from __future__ import annotations

from itertools import islice
from typing import Any

import mlx.core as mx
import numpy as np
import torch

from mlx_cosyvoice.llm import RASSampler
from parity.stages.base import Arrays, Outputs, Settings, Stage, tensor
from parity.tape import Tape
from reference import sampling

#: Uniform draws laid ready for one token: one for the nucleus, one for the fallback, the rest for ignored stop tokens.
DRAWS = 128


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
        return {"walk": np.array([list(islice(module.generate(*prompt, sampler), settings.llm_steps))], np.int64)}

    def run_reference(self, module: Any, given: Arrays, tape: Tape, settings: Settings, dtype: torch.dtype) -> Outputs:
        x = module.prompt(*(tensor(given[k]) for k in ("text_token", "prompt_text_token", "prompt_token")))
        cache, rows, picked = None, [], []
        walk = given["walk"][0].tolist()
        for step, token in enumerate(walk):
            hidden, cache = module.forward_one_step(x, cache)
            logp = module.log_probs(hidden).reshape(-1)
            rows.append(logp.to(torch.float64).numpy())
            sampler = sampling.RASSampler(module.sampling, self._draws(tape, step))
            picked.append(sampler(logp, walk[:step], True))
            x = module.speech_embedding(torch.tensor([[token]]))
        return self._outputs(rows, picked, tape)

    def run_model(self, module: Any, given: Arrays, tape: Tape, settings: Settings) -> Outputs:
        x = module.prompt(*(given[k][0].tolist() for k in ("text_token", "prompt_text_token", "prompt_token")))
        cache, rows, picked = module.make_cache(), [], []
        walk = given["walk"][0].tolist()
        for step, token in enumerate(walk):
            logp = module.step(x, cache).reshape(-1)
            rows.append(np.array(logp))
            sampler = RASSampler(module.config.sampling, self._draws(tape, step))
            picked.append(sampler(logp, walk[:step], True))
            x = module.speech_embedding(mx.array([[token]]))
        return self._outputs(rows, picked, tape)

    def _outputs(self, rows: list[np.ndarray], picked: list[int], tape: Tape) -> Outputs:
        margins = []
        for step, row in enumerate(rows):
            # the draw falls into one of the nucleus' intervals; the margin is its distance to the nearest border
            _, probabilities = sampling.candidates(torch.from_numpy(np.asarray(row, np.float64)))
            borders = np.cumsum(probabilities.numpy())
            margins.append(np.abs(borders - float(self._draws(tape, step)[0])).min())
        return Outputs(
            tensors={"log_probs": np.stack(rows)[None]},
            tokens={"speech_token": np.array([picked], np.int64)},
            margins={"speech_token": np.array([margins])},
        )

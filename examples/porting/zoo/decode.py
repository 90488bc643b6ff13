"""Call either side the way that it generates text: the prompt in one piece, then one token at a time with its cache."""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx
import mlx.nn
import numpy as np
import torch
import transformers
from mlx_lm.models.cache import make_prompt_cache


@dataclass(frozen=True)
class Decoded:
    """Logits: `prefill` is [time, vocabulary], `steps` is [steps, vocabulary]; both float64."""

    prefill: np.ndarray
    steps: np.ndarray


def token_ids(vocabulary: int, prefill: int = 24, steps: int = 8, seed: int = 0) -> np.ndarray:
    """Draw the ids of a prompt and of what follows: int64 [prefill + steps]. The first 8, often special, stay out."""
    return np.random.default_rng(seed).integers(8, vocabulary, prefill + steps)


def prefill_and_steps(model: transformers.PreTrainedModel | mlx.nn.Module, ids: np.ndarray, steps: int = 8) -> Decoded:
    """Feed `ids` [time] to a model of either framework: all but the last `steps` at once, then one by one."""
    caller = TorchCaller(model) if isinstance(model, transformers.PreTrainedModel) else MlxCaller(model)
    start = len(ids) - steps
    prefill = caller(ids[:start])
    return Decoded(prefill, np.concatenate([caller(ids[i : i + 1]) for i in range(start, len(ids))]))


class TorchCaller:
    """A text being read by a transformers model: every call goes on where the last one ended.

    Calling it with ids [time] gives logits [time, vocabulary] in float64. The cache is the one that `generate` makes.
    """

    def __init__(self, model: transformers.PreTrainedModel) -> None:
        self.model = model
        self.cache = transformers.DynamicCache(config=model.config.get_text_config(decoder=True))

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            logits = self.model(input_ids=torch.from_numpy(ids)[None], use_cache=True, cache=self.cache).logits
        return logits[0].double().numpy()


class MlxCaller:
    """The same for an mlx-lm model, with the cache that mlx-lm's own generation makes."""

    def __init__(self, model: mlx.nn.Module) -> None:
        self.model = model
        self.cache = make_prompt_cache(model)

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        logits = self.model(mx.array(ids)[None], cache=self.cache)
        return np.asarray(logits[0].astype(mx.float32)).astype(np.float64)

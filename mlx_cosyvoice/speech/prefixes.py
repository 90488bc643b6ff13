"""The language model's keys and values of prompt texts, so that a voice's prompt is run once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from mlx_cosyvoice.llm import KVCache, SpeechLM
from mlx_cosyvoice.speech.metrics import Metrics


class PrefixCache:
    """Keeps the prefixes used last; safe to share between threads.

    Args:
        llm: the model whose prefixes they are.
        limit: how many are kept. One needs about 12 kB a token in float16 at full size.
    """

    def __init__(self, llm: SpeechLM, limit: int = 8) -> None:
        self.llm, self.limit = llm, limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, ...], KVCache] = OrderedDict()

    def get(self, prompt_text: Sequence[int], metrics: Metrics) -> KVCache:
        """The prefix [sos, prompt text], run if it is not known; counted in `metrics` either way.

        The same object is returned again and again: copy it before it is continued.
        """
        key = tuple(prompt_text)
        with self._lock:
            prefix = self._kept.get(key)
            if prefix is None:
                prefix = self.llm.prefill_prefix(key)
                metrics.prompt_positions += prefix.offset
                self._kept[key] = prefix
                while len(self._kept) > self.limit:
                    self._kept.popitem(last=False)
            else:
                metrics.prompt_positions_reused += prefix.offset
            self._kept.move_to_end(key)
            return prefix

"""What the flow knows of a voice before the first token, computed once and kept for the next utterance."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from threading import Lock

import numpy as np

from mlx_cosyvoice.decoding.incremental.flow import FlowState, IncrementalFlow
from mlx_cosyvoice.prompt import Prompt

#: Bytes; a voice of 3 s needs 460 MB in the full model with a float32 state.
DEFAULT_BUDGET = 1 << 30


class PrefilledVoices:
    """The states of the voices used last, as many as fit into `budget` bytes.

    Args:
        flow: computes them.
        budget: bytes to keep; 0 keeps none. A voice that does not fit alone is computed every time.

    Raises:
        ValueError: a negative budget.
    """

    def __init__(self, flow: IncrementalFlow, budget: int = DEFAULT_BUDGET) -> None:
        if budget < 0:
            raise ValueError(f"budget must be at least 0 bytes, not {budget}")
        self.flow, self.budget = flow, budget
        self._kept: OrderedDict[str, FlowState] = OrderedDict()
        self._lock = Lock()

    @property
    def nbytes(self) -> int:
        """Size of what is kept."""
        return sum(state.nbytes for state in list(self._kept.values()))

    def state(self, prompt: Prompt) -> FlowState:
        """`flow.start(prompt)`, from what is kept if the same voice was asked for before.

        Raises:
            ValueError: a prompt of the wrong shapes, or with a token outside the vocabulary.
        """
        key = _fingerprint(prompt)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        state = self.flow.start(prompt)
        with self._lock:
            if state.nbytes <= self.budget:
                self._kept[key] = state
            while self.nbytes > self.budget:
                self._kept.popitem(last=False)
        return state


def _fingerprint(prompt: Prompt) -> str:
    """The same for prompts of the same content."""
    digest = hashlib.sha256()
    for value in prompt.arrays:
        array = np.asarray(value)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

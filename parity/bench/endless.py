"""A language model that does not end its speech, which one with random weights would do at any time."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

from mlx_parity.intercept import ModuleCall, intercepted


def endless(llm: Any) -> AbstractContextManager[None]:
    """Within, the model of either side draws speech tokens alone."""

    def answer(call: ModuleCall) -> Any:
        scores = call.run()
        scores[..., llm.speech_token_size :] = -math.inf
        return scores

    return intercepted({"llm_decoder": llm.llm_decoder}, answer)

"""Lets go of what no later stage of a run needs."""

from __future__ import annotations

from collections.abc import Sequence

from mlx_parity.stage import Stage as AnyStage
from parity.pair import Pair
from parity.stages import Stage


class Unneeded:
    """The components of the model that have to be read for the stages of a run."""

    def __init__(self, pair: Pair, stages: Sequence[Stage]) -> None:
        self._pair, self._unread = pair, pair.unread()
        self._left = {stage.name: set(stage.components) for stage in stages}

    def after(self, stage: AnyStage) -> None:
        """That stage is done: free what it needed and no later one does."""
        freed = self._left.pop(stage.name) & self._unread
        for component in freed.difference(*self._left.values()):
            self._pair.let_go(component)

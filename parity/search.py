"""Names the module at fault.

Errors add up on their way through a network, so the layer that looks worst is rarely the one that is wrong. Here every
module is judged on the reference's own inputs (`isolate`, `blame`), after its weights were held against the official
ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlx_parity.compare import FACTOR
from mlx_parity.localization.captured import Captured, captures
from parity.findings import RunReport
from parity.inputs import load_inputs
from parity.pair import Pair
from parity.run import judged, run
from parity.stages import STAGES, Settings, choose_stages, stages_of
from parity.stages.base import Streaming


class ReferenceCapture:
    """The reference's side of a run, made once and used for any number of MLX models; arguments as for `run`."""

    def __init__(
        self,
        pair: Pair,
        inputs: dict[str, Any],
        *,
        stages: Sequence[str] | None = None,
        settings: Settings | None = None,
        seed: int = 0,
        progress: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.settings = settings or Settings()
        there = stages_of(pair.reference.family.networks)
        chosen = choose_stages(stages, self.settings, there)
        self.captured = [*captures(pair, dict(inputs), there, chosen, self.settings, seed, progress)]

    def localise(
        self,
        pair: Pair,
        *,
        stages: Sequence[str] | None = None,
        factor: float = FACTOR,
        progress: Callable[[str], None] = lambda message: None,
    ) -> RunReport:
        """Hold the MLX model of `pair`, as it is now, against the captured reference.

        Args:
            pair: both models.
            stages: names, out of those captured; None for all of them.
            factor: allowed error in noise floors.
            progress: called with what is going on.
        """
        chosen = [one for one in self.captured if stages is None or one.stage.name in stages]
        return localise_in(pair, chosen, self.settings, factor=factor, progress=progress)


def localise_in(
    pair: Pair,
    captured: Sequence[Captured],
    settings: Settings,
    *,
    factor: float = FACTOR,
    progress: Callable[[str], None] = lambda message: None,
) -> RunReport:
    """Hold the MLX model of `pair`, as it is now, against what the reference did in some stages."""
    stages = [stage for stage in STAGES if any(one.stage.name == stage.name for one in captured)]
    return judged(pair, captured, stages, settings, factor, progress)


def localise(
    pair: Pair, inputs: dict[str, Any] | None = None, *, streaming: Streaming | None = None, **options: Any
) -> RunReport:
    """Find the modules of `pair.model` that compute something else than the reference does.

    Args:
        pair: both models; `pair.model` may have been changed since it was loaded.
        inputs: as for `parity.run.run`; None for the recording that the project ships.
        streaming: how speech is streamed; None for offline synthesis.
        options: others of `parity.run.run`.

    Raises:
        ValueError: a stage that does not exist.
    """
    return run(pair, load_inputs() if inputs is None else inputs, settings=Settings(streaming=streaming), **options)

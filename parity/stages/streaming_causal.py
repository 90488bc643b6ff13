"""The causal vocoder of a stream, which goes on from its own state where the reference runs on all frames anew.

In an isolated run it is let do so, with the reference's F0 and excitation in place of its own. What it makes of all
frames is then what the reference makes of them, whatever the phase adds up in a free run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mlx_parity.intercept import ModuleCall, intercepted
from mlx_parity.localization.raised import PartRaisedError, raised_in
from mlx_parity.sides import Side
from parity.stages import convolutions
from parity.stages.base import Outputs
from parity.stages.convolutions import F0, ROOT, WAV, Watched, with_others
from parity.stages.incremental_watch import CausalWatch, Seen, joined
from parity.stages.streaming_hops import Hop
from parity.stages.whole_vocoder import Draws, Whole


def within(whole: Whole, wav: np.ndarray) -> Outputs:
    """What is compared of the vocoder where it is isolated."""
    return with_others(Outputs({F0: whole.f0, "source": whole.source, WAV: wav}), whole.within)


@dataclass
class Followed:
    """What was observed of the port's, piece by piece.

    `wavs` are what it made by itself, and `goes_on` says of every piece whether the decoder let it go on from what it
    had left at the end of the one before.
    """

    side: Side
    seen: Seen
    watching: Watched
    wavs: list[np.ndarray] = field(default_factory=list)
    goes_on: list[bool] = field(default_factory=list)
    left: Any = None

    def run(self, call: ModuleCall, before: Hop | None, hop: Hop | None) -> Any:
        """Let the vocoder do its piece; where there is a `hop` of the reference, on the frames that it has there.

        Raises:
            PartRaisedError: the vocoder raises on those.
        """
        from mlx_cosyvoice.nn.cache import Cache

        cache = call.kwargs.get("cache")
        self.goes_on.append(cache is not None and _same(cache.past, self.left))
        if hop is not None:
            cache = cache or Cache()
            vars(cache).update(vars(Cache(self.left)))  # the decoder goes on with what the run leaves in it
            call = self._fed(call, before, hop, cache)
        try:
            made = call.run()
        except Exception as error:
            if hop is None or isinstance(error, PartRaisedError):
                raise
            raise PartRaisedError(raised_in(self.side, "", error) or ROOT, error) from error
        self.left = cache.state if cache is not None else None
        if hop is not None:
            self.wavs.append(self.side.numpy(made[0]))
        return made

    def _fed(self, call: ModuleCall, before: Hop | None, hop: Hop, cache: Any) -> ModuleCall:
        mel, noise = hop.vocoder
        done = (before.vocoder[0].shape[2], before.vocoder[1].shape[1]) if before else (0, 0)
        frames = self.side.array(mel[:, :, done[0] :], channels_first=True)
        given = {"sine_noise": self.side.array(noise[:, done[1] :]), "finalize": bool(hop.final), "cache": cache}
        return replace(call, args=(frames,), kwargs={**call.kwargs, **given})

    @property
    def f0(self) -> np.ndarray | None:
        """[1, T] of all frames."""
        return joined(self.seen.f0)

    def outputs(self) -> Outputs:
        """What is compared of it."""
        watching = self.watching
        inner = convolutions.outputs(self.side, self.side.module.hift, watching.seams, watching.followed)
        made = {F0: self.f0, "source": joined(self.seen.sources), WAV: joined(self.wavs)}
        return with_others(Outputs({name: array for name, array in made.items() if array is not None}), inner)


def _same(state: Any, other: Any) -> bool:
    """Whether two states of a network hold the very same arrays."""
    if state is None or other is None:
        return state is other
    mine, theirs = [*state.arrays()], [*other.arrays()]
    return len(mine) == len(theirs) and all(a is b for a, b in zip(mine, theirs, strict=True))


@contextmanager
def followed(side: Side, draws: Draws, whole: Whole | None) -> Iterator[Followed]:
    """Note what the port's vocoder does; with `whole`, put the reference's in place of its F0 and excitation."""
    hift, seen = side.module.hift, Seen(draws[1])
    with ExitStack() as stack:
        for module, answer, method in CausalWatch(side, seen, whole).within(hift):
            stack.enter_context(intercepted({method: module}, answer, method))
        watching = stack.enter_context(convolutions.watched(side, hift, whole.seams if whole else {}))
        yield Followed(side, seen, watching)

"""What stands between the incremental decoder and its networks: it notes what goes through, and answers for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mlx_parity.intercept import ModuleCall, intercepted
from mlx_parity.localization.raised import part
from mlx_parity.sides import Side
from parity.stages.convolutions import handed_on
from parity.stages.vocoder import samples_per_frame
from parity.stages.whole_vocoder import Whole

#: Who makes the excitation.
SOURCE = "hift.m_source.l_sin_gen"


@dataclass(frozen=True)
class WholeUtterance(Whole):
    """What the reference makes of it at once. `full` is the mel of a run with full attention over everything."""

    full: np.ndarray


@dataclass
class Seen:
    """What was observed of the decoder, step by step. `start` is the frame that the vocoder's window begins with.

    `noise` is [1, samples, 9], that of the whole utterance.
    """

    noise: np.ndarray
    hops: list[list[int]] = field(default_factory=list)
    mels: list[np.ndarray] = field(default_factory=list)
    f0: list[np.ndarray] = field(default_factory=list)
    sources: list[np.ndarray] = field(default_factory=list)
    aligned: dict[str, bool] = field(default_factory=lambda: {"source_window": True, "vocoder_window": True})
    start: int = 0


def joined(pieces: Sequence[np.ndarray]) -> np.ndarray | None:
    """Pieces that end with time behind each other; None if there are none, as with a port that has no such part."""
    return np.concatenate(pieces, axis=-1) if pieces else None


@dataclass
class Watch:
    """Answers for the decoder's modules: notes what goes through; with `whole`, puts the reference's in its place."""

    side: Side
    seen: Seen
    whole: Whole | None

    def flow(self, call: ModuleCall) -> Any:
        mel, state = call.run()
        self.seen.hops.append([len(call.args[1]), int(call.kwargs.get("final") is not None)])
        if self.whole is not None:
            done = sum(part.shape[2] for part in self.seen.mels)
            mel = self.side.array(self.whole.mel[:, :, done : done + mel.shape[1]], channels_first=True)
        return mel, state

    def asked(self, decoder: Any) -> list[tuple[Any, Callable[[ModuleCall], Any], str]]:
        """Modules, who answers for them, and of which method."""
        steps = [(decoder.flow, self.flow, "step"), (decoder.vocoder, self.vocoder, "step")]
        return [*steps, *self.within(self.side.module.hift)]

    def within(self, hift: Any) -> list[tuple[Any, Callable[[ModuleCall], Any], str]]:
        """The same of what the vocoder runs."""
        return [
            (hift.f0_predictor, self.window, "__call__"),
            (hift, self.source, "source"),
            (hift, self.window, "decode"),
        ]

    def vocoder(self, call: ModuleCall) -> Any:
        self.seen.start = call.args[0].start
        self.seen.mels.append(self.side.numpy(call.args[1], channels_first=True))
        return call.run()

    @property
    def scale(self) -> int:
        return samples_per_frame(self.side.module.hift)

    def source(self, call: ModuleCall) -> Any:
        begin, frames = call.kwargs["start"], call.args[2].shape[1] // self.scale
        before, f0 = min(begin, 1), self.side.numpy(call.args[0])
        self.seen.f0.append(f0[:, before : before + frames])
        if self.whole is not None:
            right = self.whole.f0[:, begin - before : begin + frames + 1]
            self.seen.aligned["source_window"] &= f0.shape == right.shape
            call.args = (self.side.array(right), *call.args[1:])
        made = self._sourced(call)
        self.seen.sources.append(self.side.numpy(made, channels_first=True))
        if self.whole is None:
            return made
        samples = slice(begin * self.scale, (begin + frames) * self.scale)
        return self.side.array(self.whole.source[:, :, samples], channels_first=True)

    def _sourced(self, call: ModuleCall) -> Any:
        """The excitation; what raises on the right window of f0 is the sine generator."""
        right = self.whole is not None and self.seen.aligned["source_window"]
        with part(SOURCE) if right else nullcontext():
            return call.run()

    def window(self, call: ModuleCall) -> Any:
        """For modules that need mel, or mel and source: of the frames that the vocoder claims to be at."""
        if self.whole is not None:
            whole = (self.whole.mel, 1), (self.whole.source, self.scale)
            call.args = tuple(self._part(array, *of) for array, of in zip(call.args, whole, strict=False))
        return call.run()

    def _part(self, array: Any, whole: np.ndarray, rate: int) -> Any:
        own, start = self.side.numpy(array, channels_first=True), self.seen.start * rate
        right = whole[:, :, start : start + own.shape[2]]
        self.seen.aligned["vocoder_window"] &= np.array_equal(own, right.astype(np.float32))
        return self.side.array(right, channels_first=True)


class CausalWatch(Watch):
    """The same where the vocoder is causal: it goes on from its own state, whatever was put in place of its parts."""

    def within(self, hift: Any) -> list[tuple[Any, Callable[[ModuleCall], Any], str]]:
        return [(hift.f0_predictor, self.f0, "__call__"), (hift, self.source, "source")]

    def vocoder(self, call: ModuleCall) -> Any:
        self.seen.mels.append(self.side.numpy(call.args[1], channels_first=True))
        return call.run()

    def f0(self, call: ModuleCall) -> Any:
        made = call.run()
        begin = sum(part.shape[1] for part in self.seen.f0)
        if self.whole is None:
            self.seen.f0.append(self.side.numpy(made))
            return made
        right = self.whole.f0[:, begin : begin + made.shape[1]]
        self.seen.f0.append(self.side.numpy(made) if handed_on(call) or not begin else right)
        return self.side.array(right)

    def source(self, call: ModuleCall) -> Any:
        begin = sum(part.shape[2] for part in self.seen.sources)
        if self.whole is not None:
            f0, rand_ini, own = call.args
            right = self.seen.noise[:, begin : begin + own.shape[1]]
            self.seen.aligned["source_window"] &= np.array_equal(self.side.numpy(own), right)
            call.args = f0, rand_ini, self.side.array(right)
        made = self._sourced(call)
        self.seen.sources.append(self.side.numpy(made, channels_first=True))
        if self.whole is None:
            return made
        return self.side.array(self.whole.source[:, :, begin : begin + made.shape[1]], channels_first=True)


@contextmanager
def watched(side: Side, decoder: Any, seen: Seen, whole: Whole | None) -> Iterator[None]:
    """Note what goes through the decoder; with `whole`, put the reference's in its place."""
    kind = CausalWatch if side.module.hift.causal else Watch
    with ExitStack() as stack:
        for module, answer, method in kind(side, seen, whole).asked(decoder):
            stack.enter_context(intercepted({method: module}, answer, method))
        yield

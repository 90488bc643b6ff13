"""Mistakes that can be made in several families. Each catalogue enters them under names of its own."""

from __future__ import annotations

from typing import Any

import mlx.core as mx

from mlx_cosyvoice.nn.cache import Cache
from parity.faults.caches import CHUNK
from parity.pieces import STEPS

# what is written in the code, and what somebody wrote

#: Of an activation: that it is none.
NO_ACTIVATION = "getattr(functional, self.function)(x)", "x"
#: Of attention: its scale, by the model's width in place of a head's; and the heads, as [head_dim, heads].
SCALE_OF_WIDTH = "scale=self.scale", "scale=self.to_q.weight.shape[1] ** -0.5"
HEAD_ORDER = "heads, -1).transpose(0, 2, 1, 3)", "-1, heads).transpose(0, 3, 1, 2)"
#: Of what the language model continues: the rows around its words.
FRAME = "self.sos, self.embed_text(words), self.task_id"
#: Of the speaker: the vector that is projected.
UNIT_LENGTH = "normalized(embedding.astype(mx.float32))"
#: Of the vocoder: its window, what its transform divides by, and how its sines come about.
SYMMETRIC_WINDOW = "/ self.n_fft", "/ (self.n_fft - 1)"
WINDOWS_KEPT = " / mx.array(weight.reshape(-1)[begin:end].astype(np.float32))", ""
NOT_SQUARED = "functional.snake(x, self.alpha)", "x + mx.sin(x * self.alpha) / (self.alpha + 1e-9)"
PHASE_OF_EVERY_SAMPLE = (
    "if not start:",
    "return functional.sin(exact_cumsum(turns).astype(mx.float32) * TURN_UNIT * 2 * math.pi)\n    if not start:",
)
PHASE_ANEW = " if before is None else before", ""
PHASE_EARLY = "count : count + 1", "count - 1 : count"
#: Of streaming: the first hop.
HOP_WITHOUT_PROMPT = "-(prompt + self.first)", "-self.first"


def activation(name: str) -> tuple[str, str]:
    """Of an activation: that it is another one of `nn.functional`."""
    return "self.function", repr(name)


# what takes more than an expression


def neighbors_turned(original: Any, x: mx.array, cos: mx.array, sin: mx.array) -> mx.array:
    """Rotary positions of pairs that lie side by side."""
    half = x.shape[-1] // 2
    cos, sin = (table.reshape(1, 1, *table.shape[-2:])[..., :half] for table in (cos, sin))
    even, odd = x[..., ::2], x[..., 1::2]
    return mx.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)


def interpolated(x: mx.array, count: int, axis: int) -> mx.array:
    """Frames between which lie others on a line to the next one, in place of repeated ones."""
    after = mx.concatenate([x[:, 1:], x[:, -1:]], axis=1)
    parts = [x * (1 - part / count) + after * (part / count) for part in range(count)]
    return mx.stack(parts, axis=2).reshape(x.shape[0], -1, x.shape[2])


def starting_noise_anew(original: Any, self: Any, frames: int, noise: mx.array | None) -> mx.array:
    full = original(self, frames, noise)
    return full if noise is not None else mx.tile(full[:, :CHUNK], (1, -(-frames // CHUNK), 1))[:, :frames]


def prompt_one_late(original: Any, self: Any, feat: mx.array, frames: int) -> mx.array:
    return mx.roll(original(self, feat, frames), 1, 1)


def steps_exchanged(original: Any, cache: Cache | None, name: str, chunk: int) -> Cache | None:
    first = cache is None or cache.past is None
    return original(cache, name if first else str(STEPS - 1 - int(name)), chunk)

"""What a token may see of those that come after it."""

from __future__ import annotations

import mlx.core as mx

from mlx_cosyvoice.nn import Conv1d, Module, functional
from mlx_cosyvoice.nn.cache import Cache, extended, followed


class PreLookaheadLayer(Module):
    """`pre_lookahead_layer`: lets every token see the next few ones, then smooths causally."""

    def __init__(self, in_channels: int, channels: int, lookahead: int) -> None:
        super().__init__()
        self.lookahead = lookahead
        self.conv1 = Conv1d(in_channels, channels, lookahead + 1)
        self.conv2 = Conv1d(channels, in_channels, 3)

    def __call__(self, x: mx.array, context: mx.array | None, cache: Cache | None = None) -> mx.array:
        """x [1, T, C]; context [1, L, C] holds the tokens after x, fewer than the lookahead at the end of speech."""
        y = self.conv1(followed(x, self.lookahead, context))
        return self.conv2(extended(functional.leaky_relu(y, 0.01), 2, cache)) + x

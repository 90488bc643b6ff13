"""What attention may see while speech is streamed."""

from __future__ import annotations

import mlx.core as mx


def chunk_mask(length: int, chunk_size: int) -> mx.array | None:
    """Block-causal mask: every position sees all up to the end of its own chunk (unlimited left context).

    Returns [length, length] bool (query, key; True where it may see), or None for full attention where `chunk_size`
    is 0.
    """
    if chunk_size <= 0:
        return None
    position = mx.arange(length)
    chunk_end = (position // chunk_size + 1) * chunk_size
    return position[None, :] < chunk_end[:, None]

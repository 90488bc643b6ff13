"""Attention: every thread works through blocks of queries whose scores stay in its cache.

MLX's own would keep all scores of all heads in memory, walk over them several times, and take the exponentials one
number at a time on one thread. Here a block's scores are made, turned into weights and used while they are in the
cache.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from mlx_cosyvoice._blas_threads import one_blas_thread
from mlx_cosyvoice.nn.cpu import threads
from mlx_cosyvoice.nn.cpu.threads import in_threads, view

#: float32 scores that a thread holds at a time, unless a few rows alone have more.
SCORES = 1 << 18
#: With fewer scores of all heads, MLX is sooner done.
FEW_SCORES = 1 << 15
#: Fewer rows than this are a slow matrix product.
FEWEST_ROWS = 32
#: More rows than this are not taken together where a mask differs from row to row: all that it hides from all of a
#: block's queries is left out.
MASKED_ROWS = 128

#: (keys, values), each [B, H, places, D].
Block = tuple[mx.array, mx.array]
#: The same of some heads of one batch entry, [heads, places, D].
Rows = tuple[np.ndarray, np.ndarray]


class _Seen:
    """What a boolean mask [T, S] lets through, in the forms that are used."""

    def __init__(self, mask: mx.array) -> None:
        seen = np.array(mask)
        keys = seen.shape[1]
        #: [T, S]: 0 where it is True, else -inf
        self.bias = np.where(seen, np.float32(0), np.float32(-np.inf))
        #: for every query, how many keys there are up to the last that it may see
        self.reach = keys - np.argmax(seen[:, ::-1], axis=1)
        #: for every query, how many keys there are before the first that it may not see
        self.clear = np.where(seen.all(axis=1), keys, np.argmin(seen, axis=1))


class _Last(threading.local):
    """A thread's last mask: layers share one."""

    mask: mx.array | None = None
    seen: _Seen | None = None

    def of(self, mask: mx.array) -> _Seen:
        if self.seen is None or mask is not self.mask:
            self.mask, self.seen = mask, _Seen(mask)
        return self.seen


_last = _Last()


def attention(q: mx.array, blocks: Sequence[Block], *, scale: float, mask: mx.array | None = None) -> mx.array:
    """softmax(scale q k^T + mask) v over the keys and values of all blocks, in float32.

    Args:
        q: [B, H, T, D].
        blocks: (keys, values), [B, K, places, D] each, where K divides H: head h of q uses head h K / H.
        scale: of the scores.
        mask: [T, S] bool, True where a query may see a key of the S of all blocks (every query sees one); or float,
            added to the scores, that broadcasts to [B, H, T, S]; or None.

    Returns:
        [B, H, T, D] in q's dtype; its memory is laid out as [B, T, H, D].
    """
    batch, heads, length, _ = q.shape
    stored = [array.astype(mx.float32) for block in blocks for array in block]
    target = mx.zeros((batch, length, heads, stored[1].shape[3]))
    queries = q.astype(mx.float32)
    mx.eval(queries, target, stored)
    arrays = [_rows_in_place(array) for array in stored]
    pieces = list(zip(arrays[::2], arrays[1::2], strict=True))
    job = _Job(_rows_in_place(queries), pieces, view(target).transpose(0, 2, 1, 3), scale, mask)
    with one_blas_thread():
        in_threads(job.run, job.count, max(1, job.count // (8 * threads.THREADS)))
    return target.transpose(0, 2, 1, 3).astype(q.dtype)


def _rows_in_place(x: mx.array) -> np.ndarray:
    """The memory of x; a copy only where the numbers of a row do not lie side by side, which BLAS requires."""
    array = view(x)
    return array if array.strides[-1] == array.itemsize else np.ascontiguousarray(array)


class _Job:
    """One call of `attention`, as `count` tasks that do not depend on each other."""

    def __init__(
        self,
        q: np.ndarray,
        blocks: list[tuple[np.ndarray, np.ndarray]],
        out: np.ndarray,
        scale: float,
        mask: mx.array | None,
    ) -> None:
        self.q, self.out, self.scale = q, out, np.float32(scale)
        _, self.heads, self.length, _ = q.shape
        self.shared = self.heads // blocks[0][0].shape[1]
        self.blocks = blocks
        self.keys = sum(keys.shape[2] for keys, _ in blocks)
        self.seen: _Seen | None = None
        self.bias: np.ndarray | None = None
        if mask is not None and mask.dtype == mx.bool_:
            self.seen = _last.of(mask)
        elif mask is not None:
            shape = (*q.shape[:3], self.keys)
            self.bias = np.broadcast_to(np.array(mask.astype(mx.float32)), shape)
        most = self.length if self.seen is None else MASKED_ROWS
        self.rows = max(1, min(self.length, most, max(FEWEST_ROWS, SCORES // self.keys)))
        # Heads with few scores are taken together: the interpreter's lock is held between NumPy's calls.
        fitting = SCORES // (self.rows * self.keys) if self.shared == 1 else 1
        self.group = max(1, min(self.heads, fitting, q.shape[0] * self.heads // (2 * threads.THREADS)))
        self.per_group = -(-self.length // self.rows)
        self.groups = -(-self.heads // self.group)
        #: how many tasks there are: blocks of rows, group by group, batch entry by batch entry
        self.count = q.shape[0] * self.groups * self.per_group

    def run(self, start: int, end: int) -> None:
        """Tasks start to end."""
        scratch = np.empty(self.group * self.rows * self.keys, np.float32)
        at, own = -1, None
        for task in range(start, end):
            number, block = divmod(task, self.per_group)
            entry, group = divmod(number, self.groups)
            heads = slice(group * self.group, min((group + 1) * self.group, self.heads))
            if own is None or number != at:
                at, own = number, self._of_heads(entry, heads)
            self._block(entry, heads, slice(block * self.rows, (block + 1) * self.rows), own, scratch)

    def _of_heads(self, entry: int, heads: slice) -> Rows:
        """Keys and values as [heads, places, D], in one piece of memory.

        Rows 2 kB apart would evict each other, and products of one block at a time are no faster than this copy.
        """
        if self.shared > 1:
            heads = slice(heads.start // self.shared, heads.start // self.shared + 1)
        if len(self.blocks) > 1:
            keys, values = (
                np.concatenate([block[which][entry, heads] for block in self.blocks], 1) for which in (0, 1)
            )
            return keys, values
        [(keys, values)] = self.blocks
        return np.ascontiguousarray(keys[entry, heads]), np.ascontiguousarray(values[entry, heads])

    def _block(self, entry: int, heads: slice, rows: slice, own: Rows, scratch: np.ndarray) -> None:
        keys, values = own
        query = self.q[entry, heads, rows] * self.scale
        count, length, _ = query.shape
        reach = self.keys if self.seen is None else int(self.seen.reach[rows].max())
        scores = scratch[: count * length * reach].reshape(count, length, reach)
        np.matmul(query, keys[:, :reach].swapaxes(1, 2), out=scores)
        if self.seen is not None:
            clear = int(self.seen.clear[rows].min())
            scores[:, :, clear:] += self.seen.bias[rows, clear:reach]
        if self.bias is not None:
            scores += self.bias[entry, heads, rows]
        scores -= scores.max(axis=2, keepdims=True)
        np.exp(scores, out=scores)
        out = self.out[entry, heads, rows]
        np.matmul(scores, values[:, :reach], out=out)
        out /= (scores.reshape(-1, reach) @ np.ones(reach, np.float32)).reshape(count, length, 1)

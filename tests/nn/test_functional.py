"""The CPU's own forms of activations and attention equal the plain MLX ones, at every size, type and extreme."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
import threadpoolctl
from hypothesis import given, settings
from hypothesis import strategies as st

from mlx_cosyvoice import _blas_threads
from mlx_cosyvoice._blas import BLAS
from mlx_cosyvoice.nn import Linear, functional
from mlx_cosyvoice.nn.backend import device_form
from mlx_cosyvoice.nn.cpu import attention, elementwise, threads, vector
from tests.support.process import run_python

EXTREMES = [0.0, -0.0, 1e-30, -1e-30, 1e-6, -1e-6, 5.69, -5.69, 5.71, -5.71, 19.9, 20.1, 30, -30, 88, -88, 100, -100]

FUNCTIONS: dict[str, tuple[Callable[..., mx.array], Callable[[np.ndarray], np.ndarray]]] = {
    "gelu": (functional.gelu, lambda x: x * 0.5 * np.vectorize(math.erfc)(-x / math.sqrt(2))),
    "gelu_tanh": (
        functional.gelu_tanh,
        lambda x: x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    "silu": (functional.silu, lambda x: x / (1 + np.exp(-x))),
    "mish": (functional.mish, lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    "elu": (functional.elu, lambda x: np.where(x > 0, x, np.expm1(x))),
    "sigmoid": (functional.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "tanh": (functional.tanh, np.tanh),
    "sin": (functional.sin, np.sin),
    "cos": (functional.cos, np.cos),
    "relu": (functional.relu, lambda x: np.maximum(x, 0)),
    "leaky_relu": (lambda x: functional.leaky_relu(x, 0.1), lambda x: np.where(x > 0, x, 0.1 * x)),
}
#: What rounding a number of this type once, and the arithmetic before, may cost, relative to max(1, |x|).
TOLERANCE = {mx.float32: 3e-7, mx.float16: 1e-3, mx.bfloat16: 8e-3}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations_equal_their_formula(name: str, dtype: mx.Dtype) -> None:
    function, formula = FUNCTIONS[name]
    values = np.concatenate([EXTREMES, np.linspace(-12, 12, 40001)]).astype(np.float32)
    x = mx.array(values).astype(dtype)
    got = function(x)
    assert got.dtype == dtype
    exact = np.array(x.astype(mx.float32)).astype(np.float64)
    error = np.abs(np.array(got.astype(mx.float32)) - formula(exact)) / np.maximum(1, np.abs(exact))
    assert error.max() <= TOLERANCE[dtype], (error.max(), exact[error.argmax()])


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("sin", "cos")])
def test_infinity_and_nan(name: str) -> None:
    function, _ = FUNCTIONS[name]
    got = np.array(function(mx.array([np.inf, np.nan])))
    bounded = name in ("sigmoid", "tanh")
    assert got[0] == (1.0 if bounded else np.inf)
    assert np.isnan(got[1])


@pytest.mark.parametrize(
    ("name", "plain"),
    [("gelu", nn.gelu), ("gelu_tanh", nn.gelu_approx), ("silu", nn.silu), ("mish", nn.mish), ("elu", nn.elu)],
)
def test_activations_equal_those_of_mlx(name: str, plain: Callable[[mx.array], mx.array]) -> None:
    x = mx.random.normal((3, 500, 80), key=mx.random.key(1)) * 3
    for some in (x, x[0, :3]):  # of few numbers MLX computes the formula
        assert distance(FUNCTIONS[name][0](some), plain(some)) <= 3e-6


@pytest.mark.parametrize("shape", [(), (1,), (0, 4), (5, 0), (1, 1, 70000), (70000, 1), (2, 3, 5, 7)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    x = mx.random.normal(shape, key=mx.random.key(2))
    assert functional.silu(x).shape == shape
    assert np.allclose(np.array(functional.silu(x)), np.array(x * mx.sigmoid(x)), atol=1e-6)


def test_a_transposed_input_and_the_input_is_left_alone() -> None:
    x = mx.random.normal((300, 200), key=mx.random.key(3))
    before = np.array(x)
    assert np.array_equal(np.array(functional.mish(x.T)), np.array(functional.mish(x)).T)
    assert np.array_equal(np.array(x), before)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_snake(dtype: mx.Dtype) -> None:
    x = (mx.random.normal((1, 3000, 16), key=mx.random.key(4)) * 20).astype(dtype)
    alpha = (mx.random.uniform(shape=(16,), key=mx.random.key(5)) * 2).astype(dtype)
    alpha[3] = 0  # a channel without a wave
    exact, rate = (np.array(a.astype(mx.float32)).astype(np.float64) for a in (x, alpha))
    expected = exact + np.square(np.sin(exact * rate)) / (rate + 1e-9)
    for frames in (3000, 5):  # of few numbers MLX computes the formula
        got, right = functional.snake(x[:, :frames], alpha), expected[:, :frames]
        error = np.abs(np.array(got.astype(mx.float32)) - right) / np.maximum(1, np.abs(right))
        assert error.max() <= 20 * TOLERANCE[dtype]  # float32 rounds the argument of the sine, of up to 100


def distance(a: mx.array, b: mx.array | np.ndarray) -> float:
    return float(np.abs(np.array(a.astype(mx.float32)) - np.array(b)).max())


def plain_attention(q: mx.array, k: mx.array, v: mx.array, scale: float, mask: Any) -> np.ndarray:
    """In float64."""
    query, key, value = (np.array(x.astype(mx.float32)).astype(np.float64) for x in (q, k, v))
    key, value = (np.repeat(x, query.shape[1] // x.shape[1], axis=1) for x in (key, value))
    scores = scale * query @ key.swapaxes(2, 3)
    if isinstance(mask, str):
        length, keys = scores.shape[2:]
        mask = mx.array(np.tri(length, keys, keys - length) > 0)
    if mask is not None:
        scores = np.where(np.array(mask), scores, -np.inf) if mask.dtype == mx.bool_ else scores + np.array(mask)
    weights = np.exp(scores - scores.max(axis=3, keepdims=True))
    return weights / weights.sum(axis=3, keepdims=True) @ value


def block_causal(length: int, chunk: int) -> mx.array:
    place = mx.arange(length) // chunk
    return place[None] <= place[:, None]


@settings(max_examples=40, deadline=None)
@given(
    queries=st.integers(1, 70),
    more=st.integers(0, 40),
    heads=st.sampled_from([(1, 1), (4, 4), (4, 2), (6, 1)]),
    kind=st.sampled_from(["none", "bool", "causal", "add", "add heads"]),
    limit=st.sampled_from([1, 500, 1 << 21]),
    batch=st.integers(1, 2),
)
def test_attention_equals_that_of_mlx(
    queries: int, more: int, heads: tuple[int, int], kind: str, limit: int, batch: int
) -> None:
    """`limit`: how many scores may be held, so that small arrays are cut as large ones are."""
    keys = queries + more
    draw = iter(mx.random.split(mx.random.key(queries * 1000 + keys), 6))
    q = mx.random.normal((batch, heads[0], queries, 8), key=next(draw)) * 3
    k = mx.random.normal((batch, heads[1], keys, 8), key=next(draw)) * 3
    v = mx.random.normal((batch, heads[1], keys, 8), key=next(draw))
    seen = mx.random.uniform(shape=(queries, keys), key=next(draw)) > 0.6
    seen[:, 0] = True
    mask: Any = {
        "none": None,
        "bool": seen,
        "causal": "causal",
        "add": mx.random.normal((queries, keys), key=next(draw)),
        "add heads": mx.random.normal((1, heads[0], queries, keys), key=next(draw)),
    }[kind]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "FEW_SCORES", 64)
        patch.setattr(attention, "SCORES", limit)
        got = functional.attention(q, [(k, v)], scale=0.35, mask=mask)
    assert distance(got, plain_attention(q, k, v, 0.35, mask)) <= 2e-5  # scores of 50 in float32


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_attention_in_chunks_and_half_precision(dtype: mx.Dtype) -> None:
    q, k, v = (mx.random.normal((2, 4, 350, 16), key=mx.random.key(n)) for n in range(3))
    mask = block_causal(350, 50)
    query, key, value = (x.astype(dtype) for x in (q, k, v))
    got = functional.attention(query, [(key, value)], scale=0.25, mask=mask)
    assert got.dtype == dtype
    assert distance(got, plain_attention(q, k, v, 0.25, mask)) <= 8 * TOLERANCE[dtype]


def test_attention_takes_each_mask_as_it_is() -> None:
    """The additive form of a mask is kept from layer to layer; another mask of the same shape is another mask."""
    q, k, v = (mx.random.normal((1, 4, 150, 16), key=mx.random.key(n)) for n in range(3))
    for chunk in (10, 150, 30, 10):
        mask = block_causal(150, chunk)
        got = functional.attention(q, [(k, v)], scale=0.25, mask=mask)
        assert distance(got, plain_attention(q, k, v, 0.25, mask)) <= 2e-6


def test_attention_with_scores_beyond_what_exp_can_hold() -> None:
    q, k, v = (mx.random.normal((1, 2, 200, 8), key=mx.random.key(n)) for n in range(3))
    got = functional.attention(q * 100, [(k * 100, v)], scale=1.0)
    assert distance(got, plain_attention(q * 100, k * 100, v, 1.0, None)) <= 1e-3
    assert np.isfinite(np.array(got)).all()


@pytest.mark.parametrize("sizes", [(90, 1, 9), (100,), (40, 60)])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
@pytest.mark.parametrize("kind", ["none", "bool", "add"])
@pytest.mark.parametrize("form", [1, 1 << 40], ids=["host", "MLX"])
def test_attention_to_keys_in_several_places(
    sizes: tuple[int, ...], heads: tuple[int, int], kind: str, form: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "FEW_SCORES", form)
    keys = sum(sizes)
    q = mx.random.normal((2, heads[0], 70, 16), key=mx.random.key(1))
    k, v = (mx.random.normal((2, heads[1], keys, 16), key=mx.random.key(n)) for n in (5, 6))
    mask = {
        "none": None,
        "bool": mx.arange(keys)[None] <= mx.arange(70)[:, None] + 3,  # hides the last block from the first queries
        "add": mx.random.normal((2, heads[0], 70, keys), key=mx.random.key(7)),
    }[kind]
    ends = np.cumsum(sizes).tolist()
    blocks = [(k[:, :, a:b], v[:, :, a:b]) for a, b in zip([0, *ends], ends, strict=False)]
    got = functional.attention(q, blocks, scale=0.3, mask=mask)
    assert distance(got, plain_attention(q, k, v, 0.3, mask)) <= 2e-6
    stored = [tuple(x.astype(mx.float16) for x in block) for block in blocks]
    got = functional.attention(q, stored, scale=0.3, mask=mask)  # type: ignore[arg-type]
    assert got.dtype == mx.float32
    half = [x.astype(mx.float16) for x in (k, v)]
    assert distance(got, plain_attention(q, half[0], half[1], 0.3, mask)) <= 2e-6


def test_attention_reads_transposed_arrays_where_they_lie() -> None:
    q, k, v = (mx.random.normal((2, 70, 4, 16), key=mx.random.key(n)).transpose(0, 2, 1, 3) for n in range(3))
    got = attention.attention(q, [(k, v)], scale=0.3)
    assert distance(got, plain_attention(q, k, v, 0.3, None)) <= 2e-6
    across = k.transpose(0, 1, 3, 2)[:, :, :, :16]  # the numbers of a row are not neighbors
    got = attention.attention(across, [(across, across)], scale=0.3)
    assert distance(got, plain_attention(across, across, across, 0.3, None)) <= 2e-6


@pytest.mark.parametrize("kind", ["none", "bool", "add"])
def test_attention_in_several_threads_gives_what_one_gives(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = (mx.random.normal((2, 4, 300, 16), key=mx.random.key(n)) for n in range(3))
    add = mx.random.normal((300, 300), key=mx.random.key(7))
    mask = {"none": None, "bool": block_causal(300, 50), "add": add}[kind]
    for count in (1, 4):
        monkeypatch.setattr(threads, "THREADS", count)
        got = functional.attention(q, [(k, v)], scale=0.3, mask=mask)
        assert distance(got, plain_attention(q, k, v, 0.3, mask)) <= 2e-6


def test_within_one_blas_thread_numpy_has_one_and_afterwards_as_many_as_before() -> None:
    def numbers() -> list[int]:
        return [library.num_threads for library in _blas_threads._libraries()]

    def enter(number: int) -> list[int]:
        with _blas_threads.one_blas_thread():
            both.wait(timeout=60)
            return numbers()

    assert _blas_threads._libraries()
    assert BLAS.library not in [library.filepath for library in _blas_threads._libraries()]
    with threadpoolctl.threadpool_limits(3, user_api="blas"):
        before = numbers()
        both = Barrier(2)
        with ThreadPoolExecutor(2) as pool:  # whoever leaves first must not undo it for the other
            inside = list(pool.map(enter, range(2)))
        assert inside == [[1] * len(before)] * 2
        assert numbers() == before
        with pytest.raises(RuntimeError), _blas_threads.one_blas_thread():
            raise RuntimeError
        assert numbers() == before == [3] * len(before)


def test_several_threads_give_what_one_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    x = mx.random.normal((1000, 300), key=mx.random.key(8))
    monkeypatch.setattr(threads, "THREADS", 1)
    alone = np.array(functional.gelu(x))
    monkeypatch.setattr(threads, "THREADS", 4)
    assert np.array_equal(np.array(functional.gelu(x)), alone)


def test_a_failing_kernel_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(x: np.ndarray, out: np.ndarray) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(threads, "THREADS", 4)
    with pytest.raises(RuntimeError, match="broken"):
        elementwise.apply(broken, mx.zeros((1000, 300)))


def test_pieces_cover_everything_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, count, size in itertools.product((1, 3), (0, 1, 7, 100), (1, 6, 100)):
        monkeypatch.setattr(threads, "THREADS", limit)
        done: list[int] = []
        threads.in_threads(lambda start, end, done=done: done.extend(range(start, end)), count, size)  # type: ignore[misc]
        assert sorted(done) == list(range(count))


def test_callers_in_several_threads() -> None:
    values = np.random.default_rng(0).standard_normal((8, 400, 300)).astype(np.float32)

    def run(value: np.ndarray) -> np.ndarray:
        with mx.stream(mx.new_stream(mx.cpu)):
            return np.array(functional.silu(mx.array(value)))

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, values))
    assert np.allclose(np.stack(results), values / (1 + np.exp(-values)), atol=1e-6)


@pytest.mark.parametrize("name", ["gelu", "attention", "snake", "linear"])
def test_derivatives_are_those_of_the_plain_forms(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = mx.random.normal((1, 4, 120, 16), key=mx.random.key(1))
    weight = mx.random.normal((4096, 16), key=mx.random.key(2))
    function: Callable[[mx.array], mx.array] = {
        "gelu": functional.gelu,
        "attention": lambda x: functional.attention(x, [(x, x)], scale=0.3),
        "snake": lambda x: functional.snake(x[0], mx.ones((16,))),
        "linear": lambda x: functional.linear(x[0, 0, :1], weight),
    }[name]

    def loss(x: mx.array) -> mx.array:
        with device_form():
            return mx.square(function(x)).sum()

    got = mx.grad(loss)(x)
    assert float(mx.abs(got).max()) > 0.1
    for limit, module in (("FEW", elementwise), ("SMALL_WEIGHT", vector), ("FEW_SCORES", attention)):
        monkeypatch.setattr(module, limit, 1 << 40)
    expected = mx.grad(lambda x: mx.square(function(x)).sum())(x)
    assert distance(got, expected) <= 1e-6 * float(mx.abs(expected).max())


@pytest.mark.parametrize("form", ["", "device"])
def test_no_compiler_is_started_on_the_cpu(form: str, tmp_path: Path) -> None:
    """The first use of a compiled function would call g++, which takes seconds."""
    code = """
import mlx_cosyvoice, mlx.core as mx
from mlx_cosyvoice.nn import functional
x = mx.random.normal((4, 100, 64))
for f in (functional.gelu, functional.silu, functional.mish, functional.elu, functional.sin): mx.eval(f(x), f(x[0, 0]))
mx.eval(functional.leaky_relu(x, 0.1), functional.attention(q := x.reshape(4, 4, 100, 16), [(q, q)], scale=1.0))
"""
    result = run_python("-c", code, TMPDIR=str(tmp_path), MLX_COSYVOICE_FORM=form)
    assert result.returncode == 0, result.stderr
    assert not (tmp_path / "mlx").exists(), "where MLX keeps what it has compiled"


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("rows", [(), (1,), (1, 1), (3,), (2, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_that_of_mlx_for_one_row_and_for_many(rows: tuple[int, ...], bias: bool, dtype: mx.Dtype) -> None:
    plain = nn.Linear(256, 512, bias=bias)
    plain.set_dtype(dtype)
    layer = Linear(256, 512, bias=bias)
    layer.update(plain.parameters())
    x = mx.random.normal((*rows, 256), key=mx.random.key(3)).astype(dtype)
    got, expected = layer(x), plain(x)
    assert got.dtype == dtype
    assert got.shape == (*rows, 512)
    assert distance(got, expected.astype(mx.float32)) <= 20 * TOLERANCE[dtype]


def test_linear_of_a_sliced_row_and_weight() -> None:
    weight, x = mx.random.normal((400, 400), key=mx.random.key(1)), mx.random.normal((4, 800), key=mx.random.key(2))
    assert distance(functional.linear(x[2:3, ::4], weight[:, ::2]), x[2:3, ::4] @ weight[:, ::2].T) <= 1e-4

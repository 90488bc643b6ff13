"""Parity of CosyVoice3: a healthy model passes in every mode, and mistakes of its own are found and named."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import pytest

from mlx_cosyvoice.decoding.causal_vocoder import CausalVocoder
from mlx_cosyvoice.flow import dit, dit_block
from mlx_cosyvoice.llm import RASSampler
from mlx_cosyvoice.nn import functional
from mlx_cosyvoice.nn.cache import Cache
from parity.compare import Verdict
from parity.faults.base import behaving, calling, modules_at, patched, wrapped
from parity.localization.search import ReferenceCapture
from parity.pair import Pair, load_pair
from parity.run import run
from parity.stages import Settings
from parity.stages.base import Streaming
from tests.support import flow_dit, hift3
from tests.support.recordings import short_inputs

ESTIMATOR = "flow.decoder.estimator"


@pytest.fixture(scope="module")
def pair(tiny_checkpoint3: Path, tiny_model3: Path) -> Pair:
    return load_pair(tiny_checkpoint3, tiny_model3)


@pytest.mark.parametrize(
    "streaming", [*(pytest.param(mode, marks=pytest.mark.slow) for mode in (None, "official")), "incremental"]
)
def test_a_healthy_model_passes(pair: Pair, streaming: Streaming | None) -> None:
    report = run(pair, short_inputs(), settings=Settings(streaming=streaming, sampler_rows=64))
    wrong = [layer for stage in report.stages for layer in stage.layers + stage.outputs if layer.verdict != "pass"]
    assert not wrong
    assert report.verdict is Verdict.PASS
    assert not report.culprits


class Mistake(NamedTuple):
    """What is done to the MLX side, where it is looked for, and whom it makes the culprit."""

    make: Callable[[Pair], AbstractContextManager[Any]]
    stage: str
    culprit: str
    streaming: Streaming | None = None


def exchanged(parts: int) -> AbstractContextManager[Any]:
    """The first two of so many parts of what the time gives change places."""

    def split(x: mx.array, count: int, axis: int) -> list[mx.array]:
        first, second, *rest = mx.split(x, count, axis=axis)
        return [second, first, *rest] if count == parts else [first, second, *rest]

    return calling(dit_block, "mx", split=split)


def without_residual(self: Any, *arguments: Any) -> mx.array:
    right = self.conv_pos_embed
    try:
        self.conv_pos_embed = lambda x, cache: right(x, cache) - x
        return self(*arguments)
    finally:
        self.conv_pos_embed = right


def other_order(
    self: Any, x: mx.array, cond: mx.array, mu: mx.array, spks: mx.array, cache: Cache | None = None
) -> mx.array:
    return self(x, mu, cond, spks, cache)


def padded_left(self: Any, x: mx.array, context: mx.array | None = None) -> mx.array:
    known = x if context is None else mx.concatenate([x, context], axis=1)
    return self(mx.pad(known, [(0, 0), (self.reach, 0), (0, 0)])[:, : known.shape[1]])[:, : x.shape[1]]


def begun_anew(original: Any, self: Any, state: Any, mel: mx.array, noise: Any, *, final: bool) -> Any:
    return original(self, state, mel, lambda samples, start: noise(samples, 0), final=final)


MISTAKES = {
    "shift and scale exchanged": Mistake(
        lambda pair: exchanged(6), "flow_decoder", f"{ESTIMATOR}.transformer_blocks.0.attn_norm"
    ),
    "the last scale and shift exchanged": Mistake(lambda pair: exchanged(2), "flow_decoder", f"{ESTIMATOR}.norm_out"),
    "the exact GELU": Mistake(
        lambda pair: patched(functional, "gelu_tanh", functional.gelu),
        "flow_decoder",
        f"{ESTIMATOR}.transformer_blocks.0.ff.ff.0.1",
    ),
    "no residual around the convolutions of positions": Mistake(
        lambda pair: behaving(modules_at(pair, f"{ESTIMATOR}.input_embed"), without_residual),
        "flow_decoder",
        f"{ESTIMATOR}.input_embed",
    ),
    "inputs joined in another order": Mistake(
        lambda pair: behaving(modules_at(pair, f"{ESTIMATOR}.input_embed"), other_order),
        "flow_decoder",
        f"{ESTIMATOR}.input_embed",
    ),
    "every head turned": Mistake(
        lambda pair: flow_dit.rope_on_every_head("mlx"), "flow_decoder", f"{ESTIMATOR}.transformer_blocks.0.attn"
    ),
    "halves turned as pairs": Mistake(
        lambda pair: flow_dit.rope_pairs_halves("mlx"), "flow_decoder", f"{ESTIMATOR}.transformer_blocks.0.attn"
    ),
    "positions counted anew in every piece": Mistake(
        lambda pair: patched(dit, "first_position", lambda cache, length: 0), "flow_pieces", ESTIMATOR, "incremental"
    ),
    "convolutions of positions without what came before": Mistake(
        lambda pair: wrapped(dit, "extended", lambda original, x, reach, cache: original(x, reach, None)),
        "flow_pieces",
        f"{ESTIMATOR}.input_embed.conv_pos_embed",
        "incremental",
    ),
    "the first convolution padded on the left": Mistake(
        lambda pair: behaving(modules_at(pair, "hift.f0_predictor.condnet.0"), padded_left),
        "vocoder",
        "hift.f0_predictor.condnet.0",
    ),
    "the phase stretched linearly": Mistake(
        lambda pair: hift3.phase_stretched_linearly("mlx"), "vocoder", "hift.m_source.l_sin_gen"
    ),
    "noise that begins anew with every piece": Mistake(
        lambda pair: wrapped(CausalVocoder, "step", begun_anew), "streaming", "streaming.noise", "official"
    ),
    "noise that begins anew with every hop": Mistake(
        lambda pair: wrapped(CausalVocoder, "step", begun_anew),
        "incremental",
        "incremental.source_window",
        "incremental",
    ),
    "sos forbidden in place of the end of speech": Mistake(
        lambda pair: wrapped(
            RASSampler,
            "__init__",
            lambda original, self, config, uniforms, ids: original(self, config, uniforms, ids.as_upstream_forbids),
        ),
        "llm",
        "llm",
    ),
}


@pytest.fixture(scope="module")
def capture(pair: Pair) -> Callable[[Mistake], ReferenceCapture]:
    @cache
    def of(stage: str, streaming: Streaming | None) -> ReferenceCapture:
        settings = Settings(streaming=streaming, llm_steps=4, sampler_rows=64)
        return ReferenceCapture(pair, short_inputs(), stages=[stage], settings=settings)

    return lambda mistake: of(mistake.stage, mistake.streaming)


#: One of every stage.
SOME = (
    "shift and scale exchanged",
    "positions counted anew in every piece",
    "noise that begins anew with every piece",
    "noise that begins anew with every hop",
)


@pytest.mark.parametrize(
    "mistake",
    [pytest.param(one, marks=() if name in SOME else pytest.mark.slow, id=name) for name, one in MISTAKES.items()],
)
def test_a_mistake_is_named(pair: Pair, capture: Callable[[Mistake], ReferenceCapture], mistake: Mistake) -> None:
    known = capture(mistake)
    with mistake.make(pair):
        report = known.localise(pair)
    assert report.verdict is Verdict.DIVERGED
    assert report.culprits[0].module == mistake.culprit
    assert "raised" not in report.culprits[0].evidence[0]

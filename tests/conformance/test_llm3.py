"""CosyVoice3's language model against the official numbers."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator
from itertools import repeat
from typing import Any
from unittest import mock

import mlx.core as mx
import numpy as np
import pytest

from mlx_cosyvoice.config import SamplingConfig
from mlx_cosyvoice.llm import RASSampler
from mlx_parity.sides import Side
from mlx_parity.taps import tap
from parity.sides import token_ids
from parity.stages.llm import prompt, step
from reference import sampling
from tests.conformance.networks import sides
from tests.support import llm as walked
from tests.support import llm3 as support
from tests.support.golden import ProbeRecorder, assert_close, assert_probes, golden, official_shapes

LOG_PROBS = {"pytorch": 2e-3, "mlx": 5e-3}
PROBE = {"pytorch": 1e-3, "mlx": 5e-3}
LM_HEAD = "llm.llm.model.lm_head"


@pytest.fixture(scope="module", params=["tiny", pytest.param("full", marks=pytest.mark.slow)])
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["pytorch", "mlx"])
def side(request: pytest.FixtureRequest, size: str) -> Iterator[Side]:
    yield support.tiny(request.param) if size == "tiny" else support.made(request.param, size)
    gc.collect()
    mx.clear_cache()


def thinning(size: str) -> int:
    return 1 if size == "tiny" else 16


def walk(side: Side, prompt_speech: int) -> tuple[np.ndarray, list[int]]:
    """Log-probabilities [24, V] and the tokens of the golden walk."""
    x, cache, rows, tokens = prompt(side, support.inputs(prompt_speech)), None, [], []
    for number in range(walked.STEPS):
        row, cache = step(side, x, cache)
        rows.append(side.numpy(row.detach() if side.name == "pytorch" else row))
        tokens.append(walked.walk(rows[-1], number))
        x = side.module.speech_embedding(side.plain(np.array([tokens[-1:]])))
    return np.stack(rows), tokens


def test_the_ids_are_the_official_ones(side: Side, size: str) -> None:
    official = golden(f"llm3.{size}").metadata["ids"]
    model, last = side.module, side.module.llm_decoder.weight.shape[0] - 1
    assert (model.eos_token, model.fill_token, last) == (official["eos"], official["fill"], official["stop"][1])
    for embedding, row in ((model.sos, official["sos"]), (model.task_id, official["task"])):
        expected = model.speech_embedding.weight[row]
        np.testing.assert_array_equal(np.asarray(embedding[0, 0].tolist()), np.asarray(expected.tolist()))


def test_the_keys_are_the_official_ones(side: Side, size: str) -> None:
    if side.name == "mlx":
        pytest.skip("load_official refuses any other")
    made = {key: tuple(tensor.shape) for key, tensor in side.module.state_dict().items()}
    assert made == official_shapes(f"llm3.{size}")


def test_log_probabilities_and_tokens(side: Side, size: str) -> None:
    file = golden(f"llm3.{size}")
    rows, tokens = walk(side, 23)
    error = walked.assert_log_probs(rows, file, thinned_by=thinning(size), max_abs=LOG_PROBS[side.name])
    print(f"{side.name} {size}: max abs {error:.3g}")
    assert tokens == file["tokens"].tolist()


def test_log_probabilities_and_tokens_without_prompt_speech(side: Side, size: str) -> None:
    file = golden(f"llm3.{size}")
    rows, tokens = walk(side, 0)
    assert_close(rows[:, :: thinning(size)], file["no_prompt_speech/logp"], LOG_PROBS[side.name], "log-probabilities")
    assert tokens == file["no_prompt_speech/tokens"].tolist()


def test_every_probe(side: Side, size: str) -> None:
    file, norms = golden(f"llm3.{size}"), []
    recording = ProbeRecorder(file.shapes)

    def sink(path: str, call: int, output: np.ndarray) -> None:
        if path == "llm.speech_embedding" and call < len(("sos", "task id")):
            return  # the official code reads these two rows without a call
        recording(path, call, output)
        if path == "llm.llm.model.model.norm":
            norms.append(output)

    with tap(side, sink, "llm."):
        step(side, prompt(side, support.inputs()))
    if side.name == "mlx":  # it has no text head: the tied embedding, applied to the normed states
        recording(LM_HEAD, 0, np.array(side.module.llm.model.model.embed_tokens.as_linear(mx.array(norms[0]))))
    assert_probes(recording, file, PROBE[side.name])


def certainly(token: int) -> np.ndarray:
    row = np.full(6761, -20, np.float32)
    row[token] = 0
    return row


def sampler(side: Side, *, upstream: bool) -> Any:
    """The side's sampler, which forbids the end of speech or what upstream takes for it."""
    model, draws = side.module, repeat(0.5)
    if side.name == "pytorch":
        forbidden = model.upstream_forbids if upstream else model.eos_token
        return sampling.RASSampler(dataclasses.asdict(SamplingConfig()), draws, forbidden)
    return RASSampler(SamplingConfig(), draws, model.ids.as_upstream_forbids if upstream else model.ids)


def sampled(name: str, certain: int, *, upstream: bool) -> int:
    """What is drawn where an id is certain and the end of speech is forbidden."""
    side = support.tiny(name)
    return sampler(side, upstream=upstream)(side.plain(certainly(certain)), [], True)


@sides
def test_upstream_forbids_the_wrong_id_before_min_len_and_only_with_the_fault_on(side: str) -> None:
    official = golden("llm3.bistream").metadata["ignore_eos"]
    assert sampled(side, support.EOS, upstream=True) == official["certain 6562 gives"] == support.EOS
    assert official["certain 6561 gives"] != 6561 != sampled(side, 6561, upstream=True)
    assert sampled(side, support.EOS, upstream=False) != support.EOS
    assert sampled(side, 6561, upstream=False) == 6561


@sides
@pytest.mark.parametrize("text", [1, 7])
def test_min_len_is_kept_where_the_end_of_speech_is_certain(side: str, text: int) -> None:
    llm = support.tiny(side)
    text_token, nothing = token_ids(llm, np.arange(text)[None]), token_ids(llm, np.zeros((1, 0), np.int64))
    row = llm.plain(certainly(support.EOS))
    answer = (row, None) if side == "pytorch" else row[None]
    with mock.patch.object(type(llm.module), "step", return_value=answer):
        for upstream, expected in ((False, 2 * text), (True, 0)):
            draw = sampler(llm, upstream=upstream)
            assert len(list(llm.module.generate(text_token, nothing, nothing, draw))) == expected


def bistream(name: str, prompt_speech: int, **how: Any) -> tuple[list[int], list[int]]:
    """The tokens of the golden schedule, and how many rows were given to the model at each call."""
    side, given = support.tiny(name), support.inputs(prompt_speech)
    text, *prompt = (token_ids(side, given[key]) for key in ("text_token", "prompt_text_token", "prompt_token"))
    arriving = text if name == "mlx" else [text[:, at : at + 2] for at in range(0, text.shape[1], 2)]
    model, run, fed = side.module, side.module.step, []

    def watched(x: Any, cache: Any) -> Any:
        fed.append(x.shape[1])
        return run(x, cache)

    with mock.patch.object(type(model), "step", lambda self, x, cache: watched(x, cache)):
        tokens = list(model.generate_bistream(arriving, *prompt, support.pick, instruction=4, **how))
    return tokens, fed


@sides
@pytest.mark.parametrize("prompt_speech", [0, 4, 17])
def test_bistream_is_the_official_one_with_its_fault(side: str, prompt_speech: int) -> None:
    tokens, fed = bistream(side, prompt_speech, unprompted_first_block=True)
    name = f"bistream/prompt_speech={prompt_speech}"
    assert tokens == golden("llm3.bistream")[name].tolist()
    assert fed == golden("llm3.bistream")[f"{name}/fed"].tolist()


@sides
def test_without_the_fault_the_first_block_has_text(side: str) -> None:
    """Where there is prompt speech, the fault makes no difference."""
    tokens, fed = bistream(side, 0)
    assert fed[0] == 1 + 4 + 5
    assert tokens != golden("llm3.bistream")["bistream/prompt_speech=0"].tolist()
    for prompt_speech in (4, 17):
        expected = golden("llm3.bistream")[f"bistream/prompt_speech={prompt_speech}"].tolist()
        assert bistream(side, prompt_speech)[0] == expected

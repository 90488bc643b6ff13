"""CosyVoice3's flow stage against the official numbers."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from reference.synthetic import recipe
from tests.conformance.networks import network, recorder, sides, sizes
from tests.support import flow as inputs
from tests.support import flow_dit as support
from tests.support.golden import assert_close, assert_probes, golden, official_shapes

MEL = {"pytorch": 5e-4, "mlx": 2e-3}
PROBE = {"pytorch": 1e-3, "mlx": 5e-3}

#: Name of a golden fault -> a context of a side and a size with it.
FAULTS: dict[str, Any] = {
    "decoder_mask_dropped": lambda side, size: inputs.decoder_mask_dropped(network(side, "flow3", size).module),
    "rope_on_every_head": lambda side, size: support.rope_on_every_head(side),
    "rope_pairs_halves": lambda side, size: support.rope_pairs_halves(side),
}


def mel(side: str, size: str, arguments: inputs.Inputs, **how: Any) -> np.ndarray:
    """[1, 80, T], of the whole stage."""
    flow = network(side, "flow3", size)
    run = flow.module.inference if side == "pytorch" else flow.module
    return flow.numpy(run(*map(flow.array, arguments), **how), channels_first=True)


@cache
def sound(side: str, size: str, streaming: int, finalize: int) -> np.ndarray:
    """The mel of the golden inputs."""
    return mel(side, size, inputs.inputs(), streaming=bool(streaming), finalize=bool(finalize))


@sizes
def test_the_state_dict_is_the_official_one(size: str) -> None:
    made = network("pytorch", "flow3", size).module.state_dict()
    assert {key: tuple(tensor.shape) for key, tensor in made.items()} == official_shapes(f"flow3.{size}")


@sides
@sizes
@pytest.mark.parametrize(("streaming", "finalize"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_mel_is_the_official_one(side: str, size: str, streaming: int, finalize: int) -> None:
    name = f"mel/streaming={streaming}/finalize={finalize}"
    assert_close(sound(side, size, streaming, finalize), golden(f"flow3.{size}")[name], MEL[side], name)


@sides
@sizes
def test_stream_chunks_are_the_official_ones(side: str, size: str) -> None:
    token, spoken, parts = recipe.integers("input/token_long", (1, 116), inputs.VOCAB), 0, []
    for end in support.STREAM_ENDS[size]:
        arguments = inputs.inputs().with_token(token[:, : end + inputs.LOOKAHEAD])
        parts.append(mel(side, size, arguments, streaming=True, finalize=False)[:, :, 2 * spoken :])
        spoken = end
    expected = golden(f"flow3.{size}")["mel/stream_chunks"]
    assert_close(np.concatenate(parts, 2), expected, MEL[side], "mel/stream_chunks")


@sides
@sizes
def test_mu_is_the_official_one_repeated(side: str, size: str) -> None:
    flow = network(side, "flow3", size)
    arrays = map(flow.array, inputs.inputs())
    mu = flow.numpy(flow.module.encode(*arrays, streaming=True, finalize=False)[0], channels_first=True)
    expected = golden(f"flow3.{size}")["mu/finalize=0"].repeat(2, 1).transpose(0, 2, 1)
    assert_close(mu, expected, MEL[side], "mu")


@sides
@sizes
def test_every_probe(side: str, size: str) -> None:
    recording, listening = recorder(network(side, "flow3", size), "flow3", size)
    with listening:
        mel(side, size, inputs.inputs(), streaming=True, finalize=False)
    assert_probes(recording, golden(f"flow3.{size}"), PROBE[side])


@sides
@sizes
@pytest.mark.parametrize("fault", FAULTS)
def test_a_mistake_is_the_official_code_with_it_and_only_when_made(side: str, size: str, fault: str) -> None:
    file, name = golden(f"flow3.{size}"), f"mel/fault={fault}"
    if name not in file.arrays:
        pytest.skip(f"there is no golden {fault} of {size}")
    with FAULTS[fault](side, size):
        faulty = mel(side, size, inputs.inputs(), streaming=True, finalize=False)
    assert_close(faulty, file[name], MEL[side], name)
    assert np.abs(sound(side, size, 1, 0) - file[name]).max() > 100 * MEL[side]


@sides
def test_noise_is_the_official_one(side: str) -> None:
    flow = network(side, "flow3", "tiny")
    noise = flow.numpy(flow.module.decoder.rand_noise, channels_first=True)
    assert noise.shape == (1, 80, 15000)
    np.testing.assert_array_equal(noise[:, :, :64], golden("flow3.tiny")["rand_noise_head"])

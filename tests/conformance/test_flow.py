"""The flow stage against the official numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.conformance.networks import network, recorder, sides, sizes
from tests.support import flow as support
from tests.support.golden import assert_close, assert_probes, golden

MEL = {"pytorch": 5e-4, "mlx": 2e-3}
PROBE = {"pytorch": 1e-3, "mlx": 5e-3}


def mel(side: str, size: str, arguments: support.Inputs, **how: Any) -> np.ndarray:
    """[1, 80, T], of the whole stage."""
    flow = network(side, "flow", size)
    run = flow.module.inference if side == "pytorch" else flow.module
    return flow.numpy(run(*map(flow.array, arguments), **how), channels_first=True)


@sides
@sizes
@pytest.mark.parametrize(("streaming", "finalize"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_mel_is_the_official_one(side: str, size: str, streaming: int, finalize: int) -> None:
    made = mel(side, size, support.inputs(), streaming=bool(streaming), finalize=bool(finalize))
    name = f"mel/streaming={streaming}/finalize={finalize}"
    assert_close(made, golden(f"flow.{size}")[name], MEL[side], name)


@sides
@sizes
def test_stream_chunks_are_the_official_ones(side: str, size: str) -> None:
    parts = [
        mel(side, size, arguments, streaming=True, finalize=False)[:, :, spoken:]
        for spoken, arguments in support.stream_inputs()
    ]
    expected = golden(f"flow.{size}")["mel/stream_chunks"]
    assert_close(np.concatenate(parts, 2), expected, MEL[side], "mel/stream_chunks")


@sides
@sizes
def test_every_probe(side: str, size: str) -> None:
    recording, listening = recorder(network(side, "flow", size), "flow", size)
    with listening:
        mel(side, size, support.inputs(), streaming=True, finalize=False, n_timesteps=10)
    assert_probes(recording, golden(f"flow.{size}"), PROBE[side])


@sides
@sizes
def test_dropped_decoder_mask_is_the_official_fault_and_only_with_the_fault_on(side: str, size: str) -> None:
    expected = golden(f"flow.{size}")["mel/fault=decoder_mask_dropped"]
    with support.decoder_mask_dropped(network(side, "flow", size).module):
        faulty = mel(side, size, support.inputs(), streaming=True, finalize=False)
    assert_close(faulty, expected, MEL[side], "mel/fault=decoder_mask_dropped")
    sound = mel(side, size, support.inputs(), streaming=True, finalize=False)
    assert np.abs(sound - expected).max() > 100 * MEL[side]


@sides
def test_noise_is_the_official_one(side: str) -> None:
    flow = network(side, "flow", "tiny")
    noise = flow.numpy(flow.module.decoder.rand_noise, channels_first=True)
    assert noise.shape == (1, 80, 15000)
    np.testing.assert_array_equal(noise[:, :, :64], golden("flow.tiny")["rand_noise_head"])


@sides
def test_noise_that_is_passed_is_used(side: str) -> None:
    noise = network(side, "flow", "tiny").module.decoder.rand_noise
    how: dict[str, Any] = {"streaming": False, "finalize": True, "n_timesteps": 2}
    fixed = mel(side, "tiny", support.inputs(), **how)
    np.testing.assert_array_equal(mel(side, "tiny", support.inputs(), noise=noise, **how), fixed)
    assert np.abs(mel(side, "tiny", support.inputs(), noise=-noise, **how) - fixed).max() > 0.1


@sides
def test_speech_longer_than_the_noise_is_refused(side: str) -> None:
    arguments = support.inputs().with_token(np.zeros((1, 7501 - support.PROMPT), np.int64))
    message = r"15002 mel frames.*15000" if side == "pytorch" else r"15002 mel frames \(300\.0 s\).*15000 \(300 s\)"
    with pytest.raises(ValueError, match=message):
        mel(side, "tiny", arguments, streaming=False, finalize=True)

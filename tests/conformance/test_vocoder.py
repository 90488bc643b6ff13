"""The vocoder against the official numbers."""

from __future__ import annotations

import numpy as np
import pytest

from mlx_parity.sides import Side
from parity.stages import vocoder
from tests.conformance.networks import network, recorder, sides, sizes
from tests.support.golden import assert_close, assert_probes, golden
from tests.support.hift import CACHED, golden_inputs, reference_model, source_floor

PROBE = {"pytorch": 1e-3, "mlx": 5e-3}
#: From the mel alone, max abs. Seen on the reference: 5.3e-4 (tiny), 8.2e-4 (full), in MLX: 9.7e-4 (tiny), 1.6e-3
#: (full); the floors there were 8.5e-4 and 8.4e-4. On a CPU that rounds f0 less kindly three times the floor counts.
WAV = {"pytorch": 1e-3, "mlx": 2e-3}


def arguments(size: str, frames: int = 60) -> dict[str, np.ndarray]:
    """mel and draws, and the official f0 and source."""
    file = golden(f"hift.{size}")
    drawn = {name: tensor.numpy() for name, tensor in golden_inputs(frames)._asdict().items()}
    return {**drawn, "f0": file["f0"], "source": file["source"]}


def whole(side: Side, inputs: dict[str, np.ndarray], cached: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """wav and source from mel and draws, by the vocoder's own call."""
    run = side.module.inference if side.name == "pytorch" else side.module
    draws = {name: side.array(inputs[name]) for name in ("rand_ini", "sine_noise")}
    cache = {} if cached is None else {"cache_source": side.array(cached, channels_first=True)}
    wav, source = run(side.array(inputs["mel"], channels_first=True), **draws, **cache)
    return side.numpy(wav), side.numpy(source, channels_first=True)


@sides
@sizes
def test_f0(side: str, size: str) -> None:
    made = vocoder.f0(network(side, "hift", size), arguments(size))["f0"]
    assert_close(made, golden(f"hift.{size}")["f0"], 1e-2, "f0")


@sides
@sizes
def test_source_of_the_official_f0(side: str, size: str) -> None:
    """The phase of tens of thousands of radians is rounded exactly as PyTorch rounds it."""
    made = vocoder.source(network(side, "hift", size), arguments(size))["source"]
    assert_close(made, golden(f"hift.{size}")["source"], 1e-6, "source")


@sides
@sizes
def test_wav_of_the_official_source(side: str, size: str) -> None:
    made = vocoder.generated(network(side, "hift", size), arguments(size))["wav"]
    assert_close(made, golden(f"hift.{size}")["wav"], 5e-5, "wav")


@sides
@sizes
def test_wav(side: str, size: str) -> None:
    bound = max(WAV[side], 3 * source_floor(reference_model(size), golden_inputs()))
    network_, inputs, file = network(side, "hift", size), arguments(size), golden(f"hift.{size}")
    wav, source = whole(network_, inputs)
    assert_close(wav, file["wav"], bound, "wav")
    wav, _ = whole(network_, inputs, source[:, :, :CACHED] * 0.5)
    assert_close(wav, file["wav/cache_source_halved_3840"], bound, "wav with half the source")


@sides
@sizes
def test_probes(side: str, size: str) -> None:
    """Every module on the official f0 and source: their float32 rounding is not the modules' (see source_floor)."""
    recording, listening = recorder(network(side, "hift", size), "hift", size)
    with listening:
        for part in (vocoder.f0, vocoder.source, vocoder.generated):
            part(network(side, "hift", size), arguments(size))
    assert_probes(recording, golden(f"hift.{size}"), PROBE[side])


@sides
@pytest.mark.parametrize("length", [0, 1, 480 * 3])
def test_cached_source_is_kept(side: str, length: int) -> None:
    module, inputs = network(side, "hift", "tiny"), arguments("tiny", 3)
    cache = np.full((1, 1, length), 0.25, np.float32)
    _, plain = whole(module, inputs)
    _, source = whole(module, inputs, cache)
    np.testing.assert_array_equal(source[:, :, :length], cache)
    np.testing.assert_array_equal(source[:, :, length:], plain[:, :, length:])


@sides
def test_initial_phases_do_not_matter(side: str) -> None:
    """As in the official code, whose down-sampling skips the sample that they are added to."""
    inputs = arguments("tiny", 3)
    _, source = whole(network(side, "hift", "tiny"), inputs)
    _, other = whole(network(side, "hift", "tiny"), {**inputs, "rand_ini": np.zeros((1, 9), np.float32)})
    np.testing.assert_array_equal(source, other)

"""CosyVoice3's vocoder against the official numbers."""

from __future__ import annotations

import numpy as np
import pytest

from parity.sides import entry
from parity.stages import vocoder
from tests.conformance.networks import network, recorder, sides, sizes
from tests.support import hift3 as support
from tests.support.golden import assert_close, assert_probes, golden

PROBE = {"pytorch": 1e-3, "mlx": 5e-3}
#: From the mel alone, max abs. Seen: 4.6e-6 (tiny) and 2.6e-5 (full) on the reference, 1.2e-5 and 4.0e-5 in MLX.
WAV = 5e-4


def synthesized(side: str, size: str, mel: np.ndarray, *, finalize: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """wav [1, L] and source [1, 1, L] of a mel [1, 80, T], by the vocoder's own call."""
    hift = network(side, "hift3", size)
    draws = support.draws(mel.shape[2] - (0 if finalize else support.F0_AHEAD))
    wav, source = getattr(hift.module, entry(hift))(
        hift.array(mel, channels_first=True),
        **{name: hift.array(array) for name, array in draws.items()},
        finalize=finalize,
    )
    return hift.numpy(wav), hift.numpy(source, channels_first=True)


@sides
@sizes
def test_f0(side: str, size: str) -> None:
    """To the last bit, as it is rounded but once, from float64. In float32 it is off by 2e-4 or 7e-4 Hz (full)."""
    hift, file = network(side, "hift3", size), golden(f"hift3.{size}")
    np.testing.assert_array_equal(vocoder.f0(hift, {"mel": support.mel()})["f0"], file["f0"])
    known, context = np.split(support.mel(), [support.FRAMES - support.F0_AHEAD], axis=2)
    arrays = (hift.array(array, channels_first=True) for array in (known, context))
    np.testing.assert_array_equal(hift.numpy(hift.module.f0_predictor(*arrays)), file["f0/finalize=0"])


@sides
@sizes
def test_source_of_the_official_f0(side: str, size: str) -> None:
    """The phase of tens of thousands of radians is rounded exactly as PyTorch rounds it."""
    file = golden(f"hift3.{size}")
    made = vocoder.source(network(side, "hift3", size), {**support.draws(), "f0": file["f0"]})["source"]
    assert_close(made, file["source"], 1e-6, "source")


@sides
@sizes
def test_wav_of_the_official_source(side: str, size: str) -> None:
    file = golden(f"hift3.{size}")
    inputs = {"mel": support.mel(), "source": file["source"]}
    assert_close(vocoder.generated(network(side, "hift3", size), inputs)["wav"], file["wav"], 1e-4, "wav")


@sides
@sizes
def test_wav(side: str, size: str) -> None:
    file = golden(f"hift3.{size}")
    for finalize, name in ((True, ""), (False, "/finalize=0")):
        wav, source = synthesized(side, size, support.mel(), finalize=finalize)
        assert_close(wav, file[f"wav{name}"], WAV, f"wav{name}")
        assert_close(source, file[f"source{name}"], WAV, f"source{name}")


@sides
@sizes
def test_a_stream_that_starts_anew_with_every_chunk(side: str, size: str) -> None:
    """As the official loop does: the whole mel so far, then what is new of its waveform."""
    parts: list[np.ndarray] = []
    for frames, finalize in support.CALLS:
        wav, _ = synthesized(side, size, support.mel(frames), finalize=finalize)
        parts.append(wav[:, sum(part.shape[1] for part in parts) :])
    assert [part.shape[1] for part in parts] == golden(f"hift3.{size}").metadata["checks"]["chunk samples"]
    expected = golden(f"hift3.{size}")["wav/stream_chunks"]
    assert_close(np.concatenate(parts, axis=1), expected, WAV, "wav/stream_chunks")


@sides
@sizes
def test_eight_seconds(side: str, size: str) -> None:
    """The phase of 8.5 s adds up every error of f0 in them."""
    wav, _ = synthesized(side, size, support.spoken_mel(size, "offline"))
    assert_close(wav, golden(f"stream3.{size}")["offline/wav"], WAV, "offline/wav")


@sides
@sizes
def test_every_probe(side: str, size: str) -> None:
    recording, listening = recorder(network(side, "hift3", size), "hift3", size)
    with listening:
        synthesized(side, size, support.mel())
    assert_probes(recording, golden(f"hift3.{size}"), PROBE[side])


@sides
@sizes
def test_stretched_phase_is_the_official_fault_and_only_with_the_fault_on(side: str, size: str) -> None:
    expected = golden(f"hift3.{size}")["wav/fault=phase_stretched_linearly"]
    with support.phase_stretched_linearly(side):
        faulty, _ = synthesized(side, size, support.mel())
    assert_close(faulty, expected, WAV, "wav/fault=phase_stretched_linearly")
    sound, _ = synthesized(side, size, support.mel())
    assert np.abs(sound - expected).max() > 100 * WAV


@sides
def test_initial_phases_are_not_heard(side: str) -> None:
    hift, inputs = network(side, "hift3", "tiny"), {**support.draws(3), "f0": np.full((1, 3), 200, np.float32)}
    made = vocoder.source(hift, inputs)["source"]
    other = vocoder.source(hift, {**inputs, "rand_ini": np.zeros((1, 9), np.float32)})["source"]
    np.testing.assert_array_equal(made, other)


@sides
@pytest.mark.parametrize(
    ("frames", "finalize", "samples", "message"),
    [(8, False, 2400, "T >= 9"), (0, True, 0, "T >= 1"), (9, False, 2881, "sine_noise must be"), (1, True, 0, "noise")],
)
def test_wrong_lengths_are_refused(side: str, frames: int, finalize: bool, samples: int, message: str) -> None:
    hift = network(side, "hift3", "tiny")
    drawn = {"rand_ini": np.zeros((1, 9), np.float32), "sine_noise": np.zeros((1, samples, 9), np.float32)}
    draws = {name: hift.array(array) for name, array in drawn.items()}
    with pytest.raises(ValueError, match=message):
        getattr(hift.module, entry(hift))(
            hift.array(support.mel(frames), channels_first=True), **draws, finalize=finalize
        )

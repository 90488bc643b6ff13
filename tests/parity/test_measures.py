"""The speech-aware measures of the parity harness: what they must be whatever the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parity.measures.mel import band_bias, band_variance_ratio, euler_step_errors
from parity.measures.seams import seam_errors
from parity.measures.voice import f0_error, speaker_cosine, voicing_agreement
from parity.measures.wave import aligned_snr, find_lag, log_spectral_distance, snr_db

VALUES = st.floats(-1e3, 1e3, width=32)
MELS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=VALUES)
SEEDS = st.integers(0, 2**32 - 1)

#: Measures as functions that are 0 for what is right and grow with what is wrong, of [1, 80, 24] arrays.
ERRORS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "band bias": lambda a, b: float(np.abs(band_bias(a, b)).max()),
    "band variance ratio": lambda a, b: float(np.abs(band_variance_ratio(a, b) - 1).max()),
    "log-spectral distance": log_spectral_distance,
    "f0": f0_error,
    "voicing": lambda a, b: 1 - voicing_agreement(a, b),
    "SNR": lambda a, b: 10 ** (-snr_db(a, b) / 20),
    "aligned SNR": lambda a, b: 10 ** (-aligned_snr(a.reshape(-1), b.reshape(-1))[0] / 20),
    "speaker": lambda a, b: 1 - speaker_cosine(a, b),
    "Euler step": lambda a, b: max(euler_step_errors([b, a], [b, b])),
    "seam": lambda a, b: seam_errors(a, b, [a.shape[-1] // 2], a.shape[-1]).error[0],
}
SYMMETRIC = ("band bias", "log-spectral distance", "f0", "voicing", "speaker")
#: Those that do not care in which order the numbers are laid out over the axes.
ORDER_FREE = ("f0", "voicing", "SNR", "speaker", "Euler step")


def arrays(seed: int, scale: float = 1.0, shape: tuple[int, ...] = (1, 80, 24)) -> tuple[np.ndarray, np.ndarray]:
    """A reference around 100 (so that some of it is voiced), and noise."""
    rng = np.random.default_rng(seed)
    return 100 * rng.normal(size=shape), scale * rng.normal(size=shape)


@pytest.mark.parametrize("name", ERRORS)
@given(seed=SEEDS, scale=st.floats(1e-6, 1e3), dtype=st.sampled_from([np.float32, np.float64]))
def test_equal_input_has_no_error(name: str, seed: int, scale: float, dtype: type) -> None:
    a: np.ndarray = arrays(seed, scale)[1].astype(dtype)
    assert ERRORS[name](a, a.copy()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ERRORS)
def test_silence_equals_silence(name: str) -> None:
    silence = np.zeros((1, 80, 24), np.float32)
    assert ERRORS[name](silence, silence) == 0


@pytest.mark.parametrize("name", SYMMETRIC)
@given(seed=SEEDS, scale=st.floats(1e-3, 1e3))
def test_symmetric_where_it_should_be(name: str, seed: int, scale: float) -> None:
    a, noise = arrays(seed, scale)
    assert ERRORS[name](a, a + noise) == pytest.approx(ERRORS[name](a + noise, a), abs=1e-12)


@given(seed=SEEDS)
def test_swapped_sides_invert_the_variance_ratio(seed: int) -> None:
    a, noise = arrays(seed, 10)
    np.testing.assert_allclose(band_variance_ratio(a, a + noise) * band_variance_ratio(a + noise, a), 1)


@pytest.mark.parametrize("name", ERRORS)
@given(seed=SEEDS, reverse=st.booleans())
def test_invariant_to_memory_layout(name: str, seed: int, reverse: bool) -> None:
    a, noise = arrays(seed)
    b = a + noise
    # the same numbers with other strides: column-major, or a reversed view of a reversed copy
    other = [x[..., ::-1].copy()[..., ::-1] if reverse else np.asfortranarray(x) for x in (a, b)]
    assert ERRORS[name](*other) == pytest.approx(ERRORS[name](a, b), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", ORDER_FREE)
@given(seed=SEEDS, axes=st.permutations([0, 1, 2]))
def test_invariant_to_the_order_of_axes(name: str, seed: int, axes: list[int]) -> None:
    a, noise = arrays(seed)
    b = a + noise
    moved = ERRORS[name](a.transpose(axes), b.transpose(axes))
    assert moved == pytest.approx(ERRORS[name](a, b), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", ERRORS)
@given(
    seed=SEEDS,
    value=st.sampled_from([math.nan, math.inf, -math.inf]),
    sides=st.sampled_from([(True, False), (False, True), (True, True)]),
    place=st.integers(0, 80 * 24 - 1),
)
def test_nan_and_infinity_never_give_a_good_value(
    name: str, seed: int, value: float, sides: tuple[bool, bool], place: int
) -> None:
    a = arrays(seed)[0]
    b = a.copy()
    for side, broken in zip((a, b), sides, strict=True):
        if broken:
            side.flat[place] = value
    assert ERRORS[name](a, b) >= 1


@pytest.mark.parametrize("name", ["band bias", "f0", "SNR", "Euler step", "seam"])
@given(seed=SEEDS, size=st.floats(1e-6, 1), times=st.floats(1.01, 100))
def test_grows_with_the_error(name: str, seed: int, size: float, times: float) -> None:
    expected, noise = arrays(seed)
    expected = np.abs(expected) + 500  # stays voiced
    small, large = (ERRORS[name](expected + s * noise, expected) for s in (size, size * times))
    assert 0 < small < large


@given(seed=SEEDS, gain=st.floats(1.001, 5), times=st.floats(1.01, 3))
def test_log_spectral_distance_of_a_gain_is_that_gain(seed: int, gain: float, times: float) -> None:
    wave = np.random.default_rng(seed).normal(size=4000)
    one, other = (log_spectral_distance(g * wave, wave) for g in (gain, gain * times))
    assert one == pytest.approx(20 * math.log10(gain), rel=0.01, abs=1e-3)
    assert other > one


def test_log_spectral_distance_takes_silence_for_100_db_below_a_full_sine() -> None:
    sine = np.sin(np.arange(1024) * 2 * np.pi * 64 / 1024)
    # the Hann window spreads it over its bin and, 6 dB below, the two beside it
    bins = [100, 100 - 20 * math.log10(2), 100 - 20 * math.log10(2)]
    assert log_spectral_distance(sine, 0 * sine) == pytest.approx(math.sqrt(sum(x**2 for x in bins) / 513), rel=1e-6)


def test_log_spectral_distance_does_not_hear_what_is_below_silence() -> None:
    wave = 1e-9 * np.random.default_rng(0).normal(size=4000)
    assert log_spectral_distance(wave, np.zeros(4000)) == 0


@given(st.floats(0, 10), st.floats(0, 10))
def test_speaker_cosine_falls_as_the_angle_grows(one: float, other: float) -> None:
    expected, across = np.eye(2, 192)
    near, far = (speaker_cosine(expected + size * across, expected) for size in sorted((one, other)))
    assert near >= far
    assert far == pytest.approx(math.cos(math.atan(max(one, other))))


@given(seed=SEEDS, scale=st.floats(1e-200, 1e200))
def test_speaker_cosine_does_not_depend_on_length(seed: int, scale: float) -> None:
    a, noise = arrays(seed, 30, (192,))
    assert speaker_cosine(scale * (a + noise), a) == pytest.approx(speaker_cosine(a + noise, a))
    assert speaker_cosine(-scale * a, a) == pytest.approx(-1)
    assert speaker_cosine(np.zeros(192), a) == 0


@given(count=st.integers(0, 40))
def test_voicing_counts_frames(count: int) -> None:
    f0 = np.full(40, 100.0)
    other = f0.copy()
    other[:count] = 9.9  # below the threshold of 10 Hz
    assert voicing_agreement(other, f0) == pytest.approx(1 - count / 40)


def test_f0_is_compared_where_both_sides_are_voiced() -> None:
    assert f0_error(np.array([100, 203, 0]), np.array([0, 200, 100])) == pytest.approx(3)
    assert f0_error(np.zeros(3), np.array([1.0, 2.0, 9.0])) == 0  # all unvoiced: nothing to be wrong about
    assert f0_error(np.array([100, 0]), np.array([0, 100])) == math.inf
    assert f0_error(np.array([0, 0]), np.array([0, 100])) == math.inf


@given(MELS, st.floats(0.125, 8, width=32))
def test_bands_are_judged_one_by_one(mel: np.ndarray, factor: float) -> None:
    louder = mel.copy()
    louder[:, 0] += factor
    bias = band_bias(louder, mel)
    assert bias[0] == pytest.approx(factor, rel=1e-3)
    assert not bias[1:].any()
    livelier = mel.astype(np.float64)
    livelier[:, -1] *= factor
    ratio = band_variance_ratio(livelier, mel)
    assert (ratio[:-1] == 1).all()
    assert ratio[-1] == pytest.approx(1 if mel[:, -1].var() == 0 else factor**2, rel=1e-3) or mel[:, -1].std() < 1e-3


@given(seed=SEEDS, lag=st.integers(-50, 50))
def test_a_shift_is_found_and_forgiven(seed: int, lag: int) -> None:
    wave = np.random.default_rng(seed).normal(size=2000)
    late = np.concatenate([np.zeros(lag), wave]) if lag >= 0 else wave[-lag:]
    assert find_lag(late, wave, 50) == lag
    assert aligned_snr(late, wave, 50) == (math.inf, lag)
    # beyond the bound it is a fault
    if lag:
        assert aligned_snr(late, wave, abs(lag) - 1)[0] < 3


@given(seed=SEEDS, scale=st.floats(1e-3, 1e2), max_lag=st.integers(0, 600))
def test_alignment_never_makes_it_worse(seed: int, scale: float, max_lag: int) -> None:
    rng = np.random.default_rng(seed)
    wave = rng.normal(size=500)
    actual = wave + scale * rng.normal(size=500)
    snr, lag = aligned_snr(actual, wave, max_lag)
    assert snr >= snr_db(actual, wave)
    assert abs(lag) <= max_lag


def test_periodic_signals_are_not_shifted() -> None:
    wave = np.sin(np.arange(2400) * 2 * np.pi / 100)
    assert aligned_snr(wave, wave) == (math.inf, 0)


def test_of_equally_good_shifts_the_smallest_is_meant() -> None:
    actual, expected = np.zeros(40), np.zeros(40)
    actual[[10, 25]], expected[20] = 1, 1
    assert find_lag(actual, expected) == 5
    assert find_lag(actual[::-1], expected[::-1]) == -5


def test_no_signal_has_no_snr() -> None:
    assert snr_db(np.ones(3), np.zeros(3)) == -math.inf
    assert aligned_snr(np.ones(3), np.zeros(3))[0] == -math.inf


@pytest.mark.parametrize("name", ERRORS)
def test_other_shapes_and_nothing_at_all_are_refused(name: str) -> None:
    if name != "aligned SNR":  # two waves may differ in length
        with pytest.raises(ValueError, match=r"shapes differ, \[1, 80, 24\]"):
            ERRORS[name](np.ones((1, 80, 24)), np.ones((1, 80, 25)))
    with pytest.raises(ValueError, match=r"nothing to compare|must be \[samples\]"):
        ERRORS[name](np.ones((1, 80, 0)), np.ones((1, 80, 0)))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"must be \[batch, bands, frames\], not \[3\]"):
        band_bias(np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match="max_lag must not be negative, got -1"):
        find_lag(np.ones(3), np.ones(3), -1)
    with pytest.raises(ValueError, match="9, the reference takes 10"):
        euler_step_errors([np.ones(1)] * 9, [np.ones(1)] * 10)

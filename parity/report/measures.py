"""The speech-aware measures of a stage in a line or two."""

from __future__ import annotations

from typing import Any

from mlx_parity.findings import StageReport
from parity.measures.mel import mel_statistics


def mel_line(stage: StageReport) -> str | None:
    """Level and spread of both mels; None for a stage without one."""
    mel = stage.arrays.get("mel")
    if mel is None or mel[0].shape != mel[1].shape:
        return None
    data = mel_statistics(*mel)
    sides = [
        f"{name} mean {side['mean']:.3f}, std {side['std']:.3f}, range {side['range']:.2f}"
        for name, side in (("MLX", data["mlx"]), ("reference", data["reference"]))
    ]
    bias = max(data["band_bias"], key=abs)
    ratio = max(data["band_std_ratio"], key=lambda value: abs(value - 1))
    return f"mel: {'; '.join(sides)}; worst band: bias {bias:+.2g}, std x {ratio:.4g}"


def measures_line(stage: StageReport) -> str | None:
    """What a person wants to know first; None for a stage without measures."""
    parts = [text for name, write in LINES.items() if name in stage.measures for text in [write(stage.measures[name])]]
    return f"{stage.title}: {', '.join(parts)}" if parts else None


def _number(value: Any, digits: int = 3) -> str:
    """Infinities come as words."""
    return str(value) if isinstance(value, str) else f"{value:.{digits}g}"


def _flip(flip: dict[str, Any] | None) -> str:
    if flip is None:
        return "no token flips"
    tie = "a near tie" if flip["near_tie"] else "no near tie"
    mine, theirs = ("the end" if token is None else token for token in (flip["actual"], flip["expected"]))
    return (
        f"first flip at token {flip['step']}: {mine}, the reference's is {theirs} "
        f"({_number(flip['logit_margin'])} nats: {tie})"
    )


def boundaries_of(streaming: dict[str, Any]) -> tuple[str, list[int]]:
    """What the boundaries of a seam measure are counted in, and where they lie."""
    unit = "frame" if "boundaries_frames" in streaming else "sample"
    return unit, streaming[f"boundaries_{unit}s"]


def _seams(streaming: dict[str, Any]) -> str:
    unit, boundaries = boundaries_of(streaming)
    if not boundaries:
        return "no chunk boundary in so short a mel"
    place, error = max(enumerate(streaming["seam_error"]), key=lambda seam: float(seam[1]))
    elsewhere = streaming["elsewhere_error"]
    against = "" if elsewhere is None else f", {_number(elsewhere)} elsewhere"
    return f"worst of {len(boundaries)} seams at {unit} {boundaries[place]}: {_number(error)}{against}"


#: Measure -> its words, in the order of the line. The bands of a mel have a line of their own, with its level.
LINES: dict[str, Any] = {
    "not_measured": lambda reason: f"not measured ({reason})",
    "speaker_cosine": lambda value: f"speaker cosine {_number(value, 9)}",
    "first_flip": _flip,
    "log_prob_noise": lambda value: f"rounding moves log-probabilities by up to {_number(value)} nats",
    "euler_step_error": lambda values: f"error of Euler steps {_number(values[0])} to {_number(values[-1])}",
    "streaming": _seams,
    "piece_snr_db": lambda values: f"SNR of the pieces {', '.join(_number(value, 4) for value in values)} dB",
    "cache_differences": lambda found: (
        f"carried state differs: {'; '.join(found)}" if found else "carried state agrees"
    ),
    "f0_error_hz": lambda value: f"F0 error {_number(value)} Hz",
    "voicing_agreement": lambda value: f"voicing agrees in {_number(100 * value, 4)} %",
    "log_spectral_distance_db": lambda value: f"log-spectral distance {_number(value)} dB",
    "snr_db": lambda value: f"SNR {_number(value, 4)} dB",
    "lag_samples": lambda value: f"lag {value} samples",
}

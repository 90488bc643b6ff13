"""Pictures of a report, as SVG text and PNG data: they need no network and no plotting library in the browser."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from mlx_parity.report.figures import LogChart

#: Anchors of the color maps, dark to light (magnitude) and blue over white to red (signed difference).
MAGNITUDE = ((0, 0, 4), (59, 15, 112), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191))
SIGNED = ((33, 102, 172), (146, 197, 222), (247, 247, 247), (244, 165, 130), (178, 24, 43))

MAX_IMAGE_WIDTH = 900


def _colored(values: np.ndarray, anchors: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    """Values in [0, 1] to RGB bytes."""
    stops = np.linspace(0, 1, len(anchors))
    channels = [np.interp(values, stops, [anchor[c] for anchor in anchors]) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def _png(pixels: np.ndarray) -> str:
    """RGB pixels as a data URL, low frequencies at the bottom, never wider than the page."""
    image = Image.fromarray(pixels[::-1])
    scale = max(1, min(4, MAX_IMAGE_WIDTH // image.width))
    size = (min(image.width * scale, MAX_IMAGE_WIDTH), image.height * 2)
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.NEAREST).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def mel_images(actual: np.ndarray, expected: np.ndarray) -> dict[str, tuple[str, str]]:
    """Both mels on one color scale, and their difference on a scale of its own.

    Returns:
        title -> (data URL, what the colors span).
    """
    a, b = actual[0].astype(np.float64), expected[0].astype(np.float64)
    low, high = float(b.min()), float(b.max())
    span = max(high - low, 1e-9)
    limit = max(float(np.abs(a - b).max()), 1e-12)
    scale = f"{low:.1f} to {high:.1f}"
    return {
        "PyTorch reference": (_png(_colored((b - low) / span, MAGNITUDE)), scale),
        "MLX": (_png(_colored((a - low) / span, MAGNITUDE)), scale),
        "difference": (_png(_colored((a - b) / (2 * limit) + 0.5, SIGNED)), f"-{limit:.2g} to {limit:.2g}"),
    }


def step_chart(errors: Sequence[float]) -> str:
    """Relative error of the estimator at every Euler step."""
    chart = LogChart(errors, len(errors), "relative error against Euler step", ("step 1", f"step {len(errors)}"))
    chart.line(errors, "trace")
    for step, error in enumerate(errors, start=1):
        chart.dot(step - 1, error, "fine", 3, f"step {step}: {error:.3g}")
    return chart.svg()


def seam_chart(boundaries: Sequence[int], errors: Sequence[float], elsewhere: float, unit: str = "frame") -> str:
    """Error around every chunk boundary, and (dashed) away from all of them."""
    ends = (f"{unit} {boundaries[0]}", f"{unit} {boundaries[-1]}")
    chart = LogChart([*errors, elsewhere], len(errors), "error at chunk boundaries", ends)
    chart.line([elsewhere] * max(len(errors), 2), "bound")
    for index, (place, error) in enumerate(zip(boundaries, errors, strict=True)):
        chart.dot(index, error, "fine", 4, f"boundary at {unit} {place}: {error:.3g}; elsewhere {elsewhere:.3g}")
    return chart.svg()


def wave_chart(wave: np.ndarray) -> str:
    """Samples [n], as the lowest and the highest of each of so many equal spans, on a scale from -1 to 1."""
    spans = [part for part in np.array_split(np.clip(wave, -1, 1), 560) if part.size]
    lines = "".join(f"M{x},{40 - 38 * part.max():.1f}V{40.5 - 38 * part.min():.1f}" for x, part in enumerate(spans))
    return f'<svg viewBox="0 0 560 80" role="img" aria-label="waveform"><path class="trace" d="{lines}"/></svg>'


def band_chart(bias: list[float]) -> str:
    """Mean difference of every mel band, as SVG bars."""
    width, height, left = 560, 110, 58
    limit = max(max(abs(value) for value in bias), 1e-12)
    middle, step = height / 2 - 6, (width - left - 8) / len(bias)
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="bias of every mel band">']
    for sign, label in ((1, f"+{limit:.1g}"), (0, "0"), (-1, f"-{limit:.1g}")):
        row = middle - sign * (middle - 8)
        parts.append(f'<line class="grid" x1="{left}" x2="{width - 8}" y1="{row:.1f}" y2="{row:.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{row + 4:.1f}" text-anchor="end">{label}</text>')
    for band, value in enumerate(bias):
        size = abs(value) / limit * (middle - 8)
        top = middle - size if value > 0 else middle
        parts.append(
            f'<rect class="bar" x="{left + band * step:.1f}" y="{top:.1f}" width="{step * 0.8:.1f}" '
            f'height="{max(size, 0.5):.1f}"><title>band {band}: {value:+.3g}</title></rect>'
        )
    parts.append(f'<text x="{left}" y="{height - 2}">low frequencies</text>')
    parts.append(f'<text x="{width - 8}" y="{height - 2}" text-anchor="end">high frequencies</text></svg>')
    return "".join(parts)

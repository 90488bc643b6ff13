"""Pictures of a report, as SVG text and PNG data: they need no network and no plotting library in the browser."""

from __future__ import annotations

import base64
import io
import math
from html import escape

import numpy as np
from PIL import Image

#: Anchors of the colour maps, dark to light (magnitude) and blue over white to red (signed difference).
MAGNITUDE = ((0, 0, 4), (59, 15, 112), (140, 41, 129), (222, 73, 104), (254, 159, 109), (252, 253, 191))
SIGNED = ((33, 102, 172), (146, 197, 222), (247, 247, 247), (244, 165, 130), (178, 24, 43))

MAX_IMAGE_WIDTH = 900


def _coloured(values: np.ndarray, anchors: tuple[tuple[int, int, int], ...]) -> np.ndarray:
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
    """Both mels on one colour scale, and their difference on a scale of its own.

    Returns:
        title -> (data URL, what the colours span).
    """
    a, b = actual[0].astype(np.float64), expected[0].astype(np.float64)
    low, high = float(b.min()), float(b.max())
    span = max(high - low, 1e-9)
    limit = max(float(np.abs(a - b).max()), 1e-12)
    scale = f"{low:.1f} to {high:.1f}"
    return {
        "PyTorch reference": (_png(_coloured((b - low) / span, MAGNITUDE)), scale),
        "MLX": (_png(_coloured((a - low) / span, MAGNITUDE)), scale),
        "difference": (_png(_coloured((a - b) / (2 * limit) + 0.5, SIGNED)), f"-{limit:.2g} to {limit:.2g}"),
    }


def depth_chart(errors: list[float], floors: list[float], names: list[str], failed: list[bool], factor: float) -> str:
    """Error of every layer against its depth, with the noise floor and the allowed error, on a log scale, as SVG."""
    width, height, left, bottom = 560, 190, 44, 22
    values = [v for v in (*errors, *floors) if 0 < v < math.inf]
    if not values:
        return ""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(max(values), factor * max(floors))))
    high = max(high, low + 1)

    def x(index: float) -> float:
        return left + (width - left - 8) * index / max(len(errors) - 1, 1)

    def y(value: float) -> float:
        clipped = min(max(math.log10(value) if value > 0 else low, low), high)
        return 8 + (height - bottom - 8) * (1 - (clipped - low) / (high - low))

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="relative error against depth">']
    for exponent in range(low, high + 1):
        row = y(10.0**exponent)
        parts.append(f'<line class="grid" x1="{left}" x2="{width - 8}" y1="{row:.1f}" y2="{row:.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{row + 4:.1f}" text-anchor="end">1e{exponent}</text>')
    floor_line = " ".join(f"{x(i):.1f},{y(v):.1f}" for i, v in enumerate(floors))
    bound_line = " ".join(f"{x(i):.1f},{y(v * factor):.1f}" for i, v in enumerate(floors))
    parts.append(f'<polyline class="floor" points="{floor_line}"/><polyline class="bound" points="{bound_line}"/>')
    for index, (error, name, wrong) in enumerate(zip(errors, names, failed, strict=True)):
        mark = "wrong" if wrong else "fine"
        parts.append(
            f'<circle class="{mark}" cx="{x(index):.1f}" cy="{y(error if error < math.inf else 10.0**high):.1f}" '
            f'r="{4 if wrong else 2}"><title>{escape(name)}: {error:.3g}</title></circle>'
        )
    parts.append(f'<text x="{left}" y="{height - 6}">first layer</text>')
    parts.append(f'<text x="{width - 8}" y="{height - 6}" text-anchor="end">last layer</text></svg>')
    return "".join(parts)


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

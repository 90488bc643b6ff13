"""Loss curves as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT, LEFT, BOTTOM = 720, 360, 60, 24
COLOURS = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (140, 86, 75), (127, 127, 127))


def draw_curves(path: Path, history: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """`history`: name -> (step, value) pairs; values above zero, on a logarithmic axis."""
    curves = {
        name: np.array([point for point in points if point[1] > 0])
        for name, points in history.items()
        if sum(point[1] > 0 for point in points) > 1
    }
    if not curves:
        return
    values = np.log10(np.concatenate([curve[:, 1] for curve in curves.values()]))
    low, high = float(values.min()), float(max(values.max(), values.min() + 1e-3))
    last = max(curve[-1, 0] for curve in curves.values())
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    bottom = HEIGHT - BOTTOM
    for share in np.linspace(0, 1, 6):
        y = bottom - share * (bottom - 10)
        draw.line((LEFT, y, WIDTH - 10, y), fill=(225, 225, 225))
        draw.text((4, y - 6), f"{10 ** (low + share * (high - low)):.3g}", fill="black")
        draw.text((LEFT + share * (WIDTH - LEFT - 60), bottom + 6), f"{share * last:.0f}", fill="black")
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        x = LEFT + curve[:, 0] / max(last, 1) * (WIDTH - LEFT - 10)
        y = bottom - (np.log10(curve[:, 1]) - low) / (high - low) * (bottom - 10)
        draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=colour, width=2)
        draw.text((WIDTH - 170, 12 + 14 * number), f"{name} {curve[-1, 1]:.4g}", fill=colour)
    image.save(path)

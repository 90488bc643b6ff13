"""Charts of a result as PNG files: ratios, cost against length, cost of every hop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

Data = Mapping[str, Any]
Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 900, 480, 90, 60, 50, 190
INK, PAPER, GRID = (40, 40, 40), (255, 255, 255), (225, 225, 225)
COLORS = ((204, 85, 0), (33, 102, 172), (27, 120, 55), (118, 42, 131))


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _new(title: str, height: int = HEIGHT) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((LEFT, 12), title, fill=INK, font=_font(20))
    return image, draw


def ratio_chart(ratios: Mapping[str, float]) -> Image.Image:
    """A bar a stage, on a logarithmic axis around 1, where both sides are equally fast."""
    row = 34
    image, draw = _new("MLX time / PyTorch time (left of 1: MLX is faster)", TOP + row * len(ratios) + BOTTOM)
    reach = max(1.0, *(abs(math.log2(value)) for value in ratios.values())) * 1.25
    left, right = 220, WIDTH - 90
    middle, scale = (left + right) / 2, (right - left) / 2 / reach
    for index, (name, value) in enumerate(ratios.items()):
        top = TOP + row * index
        end = middle + math.log2(value) * scale
        color = COLORS[0] if value > 1 else COLORS[2]
        draw.rectangle((min(middle, end), top + 6, max(middle, end), top + row - 6), fill=color)
        draw.text((left - 12, top + row / 2), name, fill=INK, font=_font(15), anchor="rm")
        side = "lm" if value > 1 else "rm"
        draw.text(
            (end + (6 if value > 1 else -6), top + row / 2), f"{value:.2f}", fill=INK, font=_font(15), anchor=side
        )
    bottom = TOP + row * len(ratios)
    draw.line((middle, TOP, middle, bottom), fill=INK)
    draw.text((middle, bottom + 8), "1", fill=INK, font=_font(15), anchor="mt")
    return image


def _ticks(most: float, *, whole: bool = False) -> list[float]:
    """Round numbers from 0 to at least `most`; `whole` for what is counted and has no halves."""
    power = 10.0 ** math.floor(math.log10(most))
    step = next(power * part for part in (0.2, 0.5, 1, 2) if most / (power * part) <= 6)
    if whole:
        step = max(round(step), 1)
    return [step * count for count in range(math.ceil(most / step) + 1)]


def line_chart(title: str, x_label: str, lines: Mapping[str, Points]) -> Image.Image:
    """Lines with a dot for every measurement; seconds upwards from 0."""
    image, draw = _new(title)
    points = [point for line in lines.values() for point in line]
    xs = _ticks(max(x for x, _ in points), whole=all(float(x).is_integer() for x, _ in points))
    ys = _ticks(max(max(y for _, y in points), 1e-6))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + (right - LEFT) * x / xs[-1], bottom - (bottom - TOP) * y / ys[-1]

    for value in ys:
        _, row = place(0, value)
        draw.line((LEFT, row, right, row), fill=GRID)
        draw.text((LEFT - 8, row), f"{value:g} s", fill=INK, font=_font(14), anchor="rm")
    for value in xs:
        column, _ = place(value, 0)
        draw.text((column, bottom + 8), f"{value:g}", fill=INK, font=_font(14), anchor="mt")
    draw.text(((LEFT + right) / 2, HEIGHT - 22), x_label, fill=INK, font=_font(15), anchor="mt")
    for index, (name, line) in enumerate(lines.items()):
        color = COLORS[index % len(COLORS)]
        places = [place(*point) for point in line]
        draw.line(places, fill=color, width=3)
        for x, y in places:
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=color)
        row = TOP + 24 * index
        draw.rectangle((right + 14, row, right + 28, row + 14), fill=color)
        draw.text((right + 34, row + 7), name, fill=INK, font=_font(15), anchor="lm")
    return image


def _against_length(stages: Data, name: str) -> dict[str, Points]:
    found = [stage for key, stage in stages.items() if key.startswith(f"{name}_")]
    return {
        label: [(stage["audio_seconds"], stage["sides"][side]["seconds"]["median"]) for stage in found]
        for label, side in (("MLX", "mlx"), ("PyTorch", "pytorch"))
        if found
    }


def _hops(stages: Data) -> dict[str, Points]:
    lines: dict[str, Points] = {}
    for key, stage in stages.items():
        if key.startswith("hops_"):
            laps = stage["sides"]["mlx"]["laps"]
            lines[key.removeprefix("hops_")] = [(index, lap["seconds"]) for index, lap in enumerate(laps, start=1)]
    return lines


def draw(data: Data, folder: Path) -> list[Path]:
    """Draw what the result has figures for.

    Returns:
        The files written.
    """
    stages = data["stages"]
    charts: dict[str, Image.Image] = {}
    ratios = {name: value for name, value in data["ratios"].items() if not name.startswith(("flow_", "vocoder_"))}
    if ratios:
        charts["ratios"] = ratio_chart(ratios)
    for name in ("flow", "vocoder"):
        if lines := _against_length(stages, name):
            charts[f"{name}_against_length"] = line_chart(f"{name.title()}: compute time", "seconds of speech", lines)
    if lines := _hops(stages):
        charts["hops"] = line_chart("Flow and vocoder: compute time of every hop", "hop", lines)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, image in charts.items():
        image.save(folder / f"{name}.png")
        written.append(folder / f"{name}.png")
    return written

"""Charts of a report, as SVG text: they need no network and no plotting library in the browser."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from mlx_parity.compare import Layer, Verdict


class LogChart:
    """Axes of a chart with a logarithmic ordinate, as SVG."""

    width, height, left, bottom = 560, 190, 44, 22

    def __init__(self, values: Sequence[float], count: int, label: str, ends: tuple[str, str]) -> None:
        positive = [value for value in values if 0 < value < math.inf] or [1.0]
        self.count = count
        self.low = math.floor(math.log10(min(positive)))
        self.high = max(math.ceil(math.log10(max(positive))), self.low + 1)
        self.parts = [f'<svg viewBox="0 0 {self.width} {self.height}" role="img" aria-label="{escape(label)}">']
        step = max(1, (self.high - self.low) // 6)
        for exponent in range(self.low, self.high + 1, step):
            row = self.y(10.0**exponent)
            self.parts.append(
                f'<line class="grid" x1="{self.left}" x2="{self.width - 8}" y1="{row:.1f}" y2="{row:.1f}"/>'
            )
            self.parts.append(f'<text x="{self.left - 6}" y="{row + 4:.1f}" text-anchor="end">1e{exponent}</text>')
        self.parts.append(f'<text x="{self.left}" y="{self.height - 6}">{escape(ends[0])}</text>')
        self.parts.append(
            f'<text x="{self.width - 8}" y="{self.height - 6}" text-anchor="end">{escape(ends[1])}</text>'
        )

    def x(self, index: float) -> float:
        return self.left + 4 + (self.width - self.left - 16) * index / max(self.count - 1, 1)

    def y(self, value: float) -> float:
        exponent = math.log10(value) if 0 < value < math.inf else self.low if value <= 0 else self.high
        place = (min(max(exponent, self.low), self.high) - self.low) / (self.high - self.low)
        return 8 + (self.height - self.bottom - 8) * (1 - place)

    def line(self, values: Sequence[float], kind: str) -> None:
        points = " ".join(f"{self.x(i):.1f},{self.y(v):.1f}" for i, v in enumerate(values))
        self.parts.append(f'<polyline class="{kind}" points="{points}"/>')

    def dot(self, index: int, value: float, kind: str, radius: float, title: str) -> None:
        self.parts.append(
            f'<circle class="{kind}" cx="{self.x(index):.1f}" cy="{self.y(value):.1f}" r="{radius}">'
            f"<title>{escape(title)}</title></circle>"
        )

    def svg(self) -> str:
        return "".join([*self.parts, "</svg>"])


def depth_chart(layers: Sequence[Layer], isolated: Mapping[str, Layer], factor: float) -> str:
    """Error of every layer against its depth, free and (where it was isolated) alone, with the floor and the bound.

    Args:
        layers: of a free run, in data-flow order, all with a difference.
        isolated: path -> the same layer on the reference's own input.
        factor: allowed error in noise floors.
    """
    floors = [layer.floor for layer in layers]
    fed = [isolated[layer.path].error for layer in layers if layer.path in isolated]
    values = [*floors, *(layer.error for layer in layers), *fed, factor * max(floors)]
    chart = LogChart(values, len(layers), "relative error against depth", ("first layer", "last layer"))
    chart.line(floors, "floor")
    chart.line([floor * factor for floor in floors], "bound")
    for index, layer in enumerate(layers):
        own = isolated.get(layer.path)
        if own is not None and own.difference is not None:
            wrong, alone = own.verdict is Verdict.DIVERGED, f"{layer.path} alone: {own.error:.3g}"
            chart.dot(index, own.error, "alone culprit" if wrong else "alone", 5 if wrong else 1.5, alone)
        wrong = layer.verdict is Verdict.DIVERGED
        chart.dot(index, layer.error, "wrong" if wrong else "fine", 2, f"{layer.path}: {layer.error:.3g}")
    return chart.svg()

"""The result as tables: on the terminal, and in Markdown for the README."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from mlx_parity.report.terminal import new_table
from parity.bench.cases import HOPS

Data = Mapping[str, Any]

HEADER = ("", "MLX", "PyTorch", "MLX / PyTorch", "MLX speed", "MLX peak memory", "limit reached: MLX", "PyTorch")
HOPS_HEADER = (
    *("Flow and vocoder, hop by hop", "hops", "all hops", "all hops / offline", "first hop", "second", "last"),
    *("last / second", "MLX peak memory"),
)

#: What the columns mean.
LEGEND = (
    "Times are medians (fastest to slowest). MLX / PyTorch: below 1, MLX is faster. x audio: compute time over the "
    "audio's length. Limit reached: of the machine's rate of matrix products or of reading memory. "
    "In brackets after a ratio: the same of processor time."
)


def _seconds(value: float) -> str:
    """A duration in the unit that suits it."""
    return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s" if value < 100 else f"{value:.0f} s"


def _both_ratios(own: Data, name: str) -> str:
    """A ratio of times and, in brackets, the same of processor time, which a busy machine disturbs less."""
    return f"{own[name]:.2f} ({own['of_cpu_seconds'][name]:.2f})" if name in own else ""


def _peak_memory(side: Data) -> str:
    return f"{side['memory']['peak_bytes'] / 2**30:.2f} GB"


def _spread(side: Data | None) -> str:
    if side is None:
        return ""
    times = side["seconds"]
    if len(times["samples"]) == 1:
        return _seconds(times["median"])
    scale = 1000 if times["median"] < 1 else 1
    return f"{_seconds(times['median'])} ({times['min'] * scale:.3g} to {times['max'] * scale:.3g})"


def _speed(stage: Data, side: Data) -> str:
    if "tokens_per_second" in side and not stage.get("audio_seconds"):
        return f"{side['tokens_per_second']:.1f} tokens/s"
    if "real_time_factor" in side:
        return f"{side['real_time_factor']:.3g} x audio"
    return ""


def _share(side: Data | None) -> str:
    if side is None:
        return ""
    if "share_of_memory_limit" in side:
        return f"{side['share_of_memory_limit']:.0%} (memory)"
    return f"{side['share_of_matmul_limit']:.0%} (matmul)" if "share_of_matmul_limit" in side else ""


def rows(data: Data) -> Iterator[tuple[str, ...]]:
    """A row a stage, as in `HEADER`, but for the hops."""
    for name, stage in data["stages"].items():
        if name.startswith("hops_"):
            continue
        sides = stage["sides"]
        mlx, pytorch = sides.get("mlx") or sides.get("converter"), sides.get("pytorch")
        yield (
            stage["title"],
            _spread(mlx),
            _spread(pytorch),
            f"{stage['ratio']:.2f}" if "ratio" in stage else "",
            _speed(stage, mlx),
            _peak_memory(mlx),
            _share(mlx),
            _share(pytorch),
        )


def hop_rows(data: Data) -> Iterator[tuple[str, ...]]:
    """What streaming costs, as in `HOPS_HEADER`: a row for each of `HOPS` that was asked for."""
    for name, (label, _) in HOPS.items():
        if f"hops_{name}" not in data["stages"]:
            continue
        mlx, own = data["stages"][f"hops_{name}"]["sides"]["mlx"], data["streaming"][name]
        times = [_seconds(lap["seconds"]) for lap in mlx["laps"]]
        yield (
            f"{label}, {own['audio_seconds']:g} s",
            str(own["hops"]),
            _seconds(own["total_seconds"]),
            _both_ratios(own, "total_over_offline"),
            times[0],
            times[1] if len(times) > 1 else "",
            times[-1] if len(times) > 2 else "",
            _both_ratios(own, "last_over_second"),
            _peak_memory(mlx),
        )


def tables(data: Data) -> Iterator[tuple[Sequence[str], list[tuple[str, ...]]]]:
    """Header and rows of every table that has rows."""
    for header, found in ((HEADER, list(rows(data))), (HOPS_HEADER, list(hop_rows(data)))):
        if found:
            yield header, found


def first_sounds(data: Data) -> Iterator[str]:
    """How soon each decoder speaks, and what a prefilled voice saves."""
    for stage in data["stages"].values():
        numbers = stage["sides"].get("mlx", {}).get("numbers", {})
        if "first_chunk_seconds" in numbers:
            first = numbers["first_chunk_seconds"]["median"]
            new = stage["sides"]["mlx"]["first_run"]["numbers"]["first_chunk_seconds"]
            yield f"{stage['title']}: first chunk after {_seconds(first)} ({_seconds(new)} where the voice is new)"
    if "voice_prefill" in data["streaming"]:
        own = data["streaming"]["voice_prefill"]
        yield (
            f"Flow of the first hop: {_seconds(own['new_voice_seconds'])} for a new voice, "
            f"{_seconds(own['prefilled_voice_seconds'])} for a prefilled one: "
            f"{_both_ratios(own, 'prefilled_over_new')} of it"
        )


def conditions(data: Data) -> Iterator[str]:
    """What was measured on what, in sentences."""
    machine, limits = data["machine"], data["limits"]
    name = f"{data['size']} checkpoint" if data["size"] else data["checkpoint"]
    yield (
        f"{name}, {data['threads']} threads on {machine['processor']} ({machine['cores']} cores), medians of "
        f"{data['repeats']} runs a side, taken by turns; Euler steps of the flow: {data['steps']}."
    )
    yield (
        f"MLX {data['versions']['mlx']} with {data['blas']['mlx'].split(' (')[0]} on {data['device']}; "
        f"PyTorch {data['versions']['pytorch']} with {data['blas']['pytorch']}."
    )
    yield (
        "The machine's own limits: float32 matrix products "
        f"{limits['mlx']['matmul_flops'] / 1e9:.0f} GFLOP/s (MLX) and "
        f"{limits['pytorch']['matmul_flops'] / 1e9:.0f} (PyTorch); reading memory "
        f"{limits['mlx']['read_bytes'] / 1e9:.0f} GB/s and {limits['pytorch']['read_bytes'] / 1e9:.0f}."
    )


def warning(data: Data) -> str:
    """What to beware of where the machine was busy before the benchmark began, or ""."""
    load, cores = data["machine"]["load_average"]["before"], data["machine"]["cores"]
    spare = cores - data["threads"]
    if load <= max(spare, 0.5):
        return ""
    return (
        f"The machine was busy (load {load:.1f} on {cores} cores) before the benchmark began: times are upper bounds. "
        "MLX / PyTorch suffers less, because the sides ran by turns."
    )


def print_result(data: Data, console: Console) -> None:
    """Print everything."""
    for header, found in tables(data):
        table = new_table(header[0], *(f">{name}" for name in header[1:]), wrap=True)
        for row in found:
            table.add_row(*map(escape, row))
        console.print()
        console.print(table)
    console.print()
    for line in (*first_sounds(data), *conditions(data)):
        console.print(line)
    console.print(LEGEND, style="dim")
    if warning(data):
        console.print(f"[yellow]{warning(data)}[/]")


def markdown(data: Data) -> str:
    """The tables and their conditions, for the README."""
    notes = [LEGEND, *first_sounds(data), *conditions(data), *filter(None, [warning(data)])]
    parts = [_markdown_table(header, found) for header, found in tables(data)]
    return "\n".join([*parts, *(f"- {note}" for note in notes), ""])


def _markdown_table(header: Sequence[str], found: Iterable[Sequence[str]]) -> str:
    shown = [header, ["---", *["---:"] * (len(header) - 1)], *found]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in shown)

"""The README.md of a converted model: what it is, how to use it, and what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.families import Official
from converters.overflow import LARGEST, MARGIN

CARD = "README.md"

#: What lies between is replaced when a model is published; all else in a card may be edited by hand.
PARITY_START, PARITY_END = "<!-- parity -->", "<!-- end of parity -->"
NOT_RUN = "Not run: nobody has compared this model with the PyTorch original yet (`python -m parity run`)."


_USE = """
## Use

```bash
pip install mlx-cosyvoice
```

```python
from mlx_cosyvoice import load

model = load("path/or/hub-id/of/this/model")
voice = model.clone("recording.wav", "What is said in the recording.")
samples = model.synthesize("Hello from MLX.", voice, seed=0)  # float32, 24 kHz
```

Clone a voice only with the consent of the person it belongs to.
"""


def described_dtypes(record: Mapping[str, Any]) -> dict[str, str]:
    """Component -> how its weights are stored, for people."""
    quantization = record["quantization"] or {"components": {}}
    described = {}
    for name, dtype in record["dtypes"].items():
        if name in record["overflow"]:
            largest, *others = record["overflow"][name]
            more = f" and {len(others)} places more" if others else ""
            dtype += f" (float16, which ends at {LARGEST:.0f}, needs a margin of {MARGIN} to hold: {largest}{more})"
        kept = sum(path.split(".")[0] == name for path in record["layer_dtypes"])
        exceptions = f", {kept} in float32" if kept else ""
        described[name] = f"{dtype}{exceptions}"
        packed = quantization["components"].get(name)
        if packed:
            count = len(packed["quantized"])
            described[name] = (
                f"{quantization['bits']} bits in groups of {quantization['group_size']} ({count} of "
                f"{count + len(packed['in_full'])} Linear and Embedding layers), the rest {dtype}{exceptions}"
            )
    return described


def parity_section(result: Mapping[str, Any] | None) -> str:
    """What a parity run found, in Markdown.

    Args:
        result: the content of `parity.json`; None where there is none.
    """
    if result is None:
        return NOT_RUN
    lines = [
        f"Against the PyTorch reference on the official weights: **{result['verdict']}** "
        f"({'streaming' if result['settings']['streaming'] else 'offline'}). An error is in noise floors: what PyTorch "
        "itself loses in that dtype.\n",
        "| stage | dtype | verdict | layers | worst error |",
        "|---|---|---|---:|---:|",
    ]
    for stage in result["stages"].values():
        rows = [*stage["layers"].values(), *stage["outputs"].values()]
        passed = sum(row["verdict"] == "pass" for row in rows)
        ratios = [float(row["error_over_floor"]) for row in rows if "error_over_floor" in row]
        worst = f"{max(ratios):.2g}" if ratios else "exact"
        lines.append(f"| {stage['title']} | {stage['dtype']} | {stage['verdict']} | {passed}/{len(rows)} | {worst} |")
    changed = [f"- {line}" for line in result.get("quantization", {}).get("summary", [])]
    if changed:
        lines += ["\nThe reference had the same quantized weights. What quantizing changed:\n", *changed]
    return "\n".join(lines)


def with_parity(card: str, result: Mapping[str, Any] | None) -> str:
    """The card with another parity section; as it is where somebody took the section out."""
    start, end = card.find(PARITY_START), card.find(PARITY_END)
    if not 0 <= start < end:
        return card
    return f"{card[: start + len(PARITY_START)]}\n{parity_section(result)}\n{card[end:]}"


def model_card(record: Mapping[str, Any], official: Official) -> str:
    """Markdown with the front matter of the Hugging Face hub.

    Args:
        record: the content of `conversion.json`. Of a synthetic checkpoint with random weights no model is credited.
        official: its family.
    """
    synthetic = record["synthetic"]
    front = ["license: apache-2.0", "library_name: mlx", "pipeline_tag: text-to-speech"]
    if not synthetic:
        front.append(f"base_model: {official.hub}")
        if record["quantization"]:
            front.append("base_model_relation: quantized")
    front += ["language: [zh, en, ja, ko]", "tags: [mlx, text-to-speech, voice-cloning, cosyvoice]"]
    origin = (
        f"Random weights in the layout of {official.family.title}, for tests; it makes noise, not speech."
        if synthetic
        else f"[{official.family.title}](https://huggingface.co/{official.hub}) (Alibaba, Apache-2.0), converted to "
        "MLX. The weights are a work of its authors and stay under their licence."
    )
    parts = [
        "---\n" + "\n".join(front) + "\n---\n",
        f"# {record['source']}, MLX\n",
        f"{origin}\n",
        "| component | weights |\n|---|---|",
        *(f"| {name} | {described} |" for name, described in described_dtypes(record).items()),
        *_exceptions(record),
        "" if synthetic else _USE,
        f"## Parity\n\n{PARITY_START}\n{NOT_RUN}\n{PARITY_END}\n",
        "## Made from\n",
        "| file | bytes | sha256 |\n|---|---|---|",
        *(f"| {name} | {file['bytes']} | `{file['sha256'][:16]}...` |" for name, file in record["files"].items()),
        f"\nby mlx-cosyvoice {record['versions']['mlx_cosyvoice']}; `conversion.json` has the whole sums and what "
        "became of every key.",
    ]
    return "\n".join(parts) + "\n"


def _exceptions(record: Mapping[str, Any]) -> list[str]:
    kept = dict.fromkeys(record["layer_dtypes"], "float32")
    for packed in (record["quantization"] or {"components": {}})["components"].values():
        kept |= {
            path: why
            for path, why in packed["in_full"].items()
            if not any(path == outer or path.startswith(f"{outer}.") for outer in record["layer_dtypes"])
        }
    if not kept:
        return []
    return ["\nExceptions:\n", *(f"- `{path}`: {why}" for path, why in sorted(kept.items()))]

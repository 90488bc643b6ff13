"""The README.md of a converted model: what it is, how to use it, and what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.checkpoint import OFFICIAL

_USE = """
## Use

```bash
pip install mlx-cosyvoice
```

```python
from mlx_cosyvoice import CosyVoice2

model = CosyVoice2.load("path/or/hub-id/of/this/model")
voice = model.clone("recording.wav", "What is said in the recording.")
samples = model.synthesize("Hello from MLX.", voice, seed=0)  # float32, 24 kHz
```

Clone a voice only with the consent of the person it belongs to.
"""


def model_card(record: Mapping[str, Any], *, synthetic: bool) -> str:
    """Markdown with the front matter of the Hugging Face hub.

    Args:
        record: the content of `conversion.json`.
        synthetic: the checkpoint has random weights, so that there is no model to credit.
    """
    front = ["license: apache-2.0", "library_name: mlx", "pipeline_tag: text-to-speech"]
    if not synthetic:
        front.append(f"base_model: {OFFICIAL}")
    front += ["language: [zh, en, ja, ko]", "tags: [mlx, text-to-speech, voice-cloning, cosyvoice]"]
    origin = (
        "Random weights in the layout of CosyVoice2, for tests; it makes noise, not speech."
        if synthetic
        else f"[CosyVoice2](https://huggingface.co/{OFFICIAL}) (Alibaba, Apache-2.0), converted to MLX. The weights "
        "are a work of its authors and stay under their licence."
    )
    parts = [
        "---\n" + "\n".join(front) + "\n---\n",
        f"# {record['source']}, MLX\n",
        f"{origin}\n",
        "| component | dtype |\n|---|---|",
        *(f"| {name} | {dtype} |" for name, dtype in record["dtypes"].items()),
        "" if synthetic else _USE,
        "## Made from\n",
        "| file | bytes | sha256 |\n|---|---|---|",
        *(f"| {name} | {file['bytes']} | `{file['sha256'][:16]}...` |" for name, file in record["files"].items()),
        f"\nby mlx-cosyvoice {record['versions']['mlx_cosyvoice']}; `conversion.json` has the whole sums and what "
        "became of every key.",
    ]
    return "\n".join(parts) + "\n"

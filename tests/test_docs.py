"""The pages of docs/ say what the code says: every quoted message exists, and every key of a format is described."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest

from mlx_cosyvoice.voices.voice import TENSORS, Voice, to_metadata
from parity.findings import RunReport
from parity.report.data import to_dict
from parity.stages import Settings

ROOT = Path(__file__).parents[1]
FORMATS = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
TROUBLES = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")


def described(title: str) -> set[str]:
    """What the first column of the tables under a heading names."""
    _, _, rest = FORMATS.partition(f"# {title}\n")
    section = re.split(r"^#", rest, maxsplit=1, flags=re.M)[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.M)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.fixture(scope="module")
def strings() -> str:
    """All text of the code, with a zero byte where a value is put in."""
    found = []
    for package in ("mlx_cosyvoice", "converters", "reference", "parity", "mlx_parity"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else "\0" for part in node.values)
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return "\n".join(found)


MESSAGES = re.findall(r"^\*\*`(.+)`\*\*$", TROUBLES, re.M)


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_that_is_explained_exists(message: str, strings: str) -> None:
    message = message.removesuffix("MLX_COSYVOICE_MODEL")  # by the name of a constant in the code
    fragments = [fragment.strip(" :;.,()") for fragment in message.split("...")]
    assert any(len(fragment) > 10 for fragment in fragments)
    for fragment in fragments:
        assert fragment in strings


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{name}.md" for name in ("formats", "troubleshooting", "CHANGELOG"))]
)
def test_an_option_that_is_mentioned_exists(page: str, strings: str) -> None:
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", (ROOT / page).read_text(encoding="utf-8")))
    assert options
    known = set(strings.split("\n")) | {"--help", "--start", "--end"}  # --start and --end are put together
    assert not options - known


def test_a_file_that_the_architecture_names_exists() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"[\w/]+/(?:\w+\.py|(?=[`\s]))", page))
    roots = [ROOT, ROOT / "mlx_cosyvoice", ROOT / "parity", ROOT / "mlx_parity"]
    missing = {name for name in named if not any((root / name).exists() for root in roots)}
    assert len(named) > 40
    assert not missing


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 30


def test_the_keys_of_a_model_folder(tiny_model: Path) -> None:
    """Those that only some models have are described too."""
    config = json.loads((tiny_model / "config.json").read_text())
    assert described("config.json") == config.keys() | {"layer_dtypes", "quantization", "quantization_config"}
    record = json.loads((tiny_model / "conversion.json").read_text())
    assert described("conversion.json") == record.keys()
    files = {path.name for path in tiny_model.iterdir()}
    assert files <= described("Model folder")


def test_the_keys_of_a_run(tiny_model: Path) -> None:
    result = to_dict(RunReport([], Settings()), model=str(tiny_model))
    assert described("parity.json") | {"schema_version"} == result.keys() | {"quantization", "culprits", "heard"}


def test_the_keys_of_a_voice() -> None:
    voice = Voice(np.zeros((1, 1), int), np.zeros((1, 2, 80)), np.zeros((1, 192)), prompt_text=(1,))
    assert described("Voices") == {*TENSORS, "format", "version", *to_metadata(voice)}

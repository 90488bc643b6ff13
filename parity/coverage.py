"""Which lines of the MLX networks and decoders a run comes to, by the coverage library."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlx_cosyvoice

PACKAGE = Path(mlx_cosyvoice.__file__).parent
#: The networks, and what runs them. `nn/cpu` holds kernels in place of others.
NETWORKS = ("llm", "flow", "vocoder", "speech_tokenizer", "speaker_encoder")
FOLDERS = (*NETWORKS, "decoding")

#: Lines that only refuse what is wrong.
REFUSALS = r"^\s*raise "


class Coverage:
    """`missed` is, once the run is over, what no stage came to: file, relative to the package -> line numbers."""

    def __init__(self) -> None:
        self.missed: dict[str, list[int]] = {}


@contextmanager
def watched_lines() -> Iterator[Coverage]:
    """Watch what is run while the context lasts.

    Raises:
        ValueError: the library is not installed.
    """
    try:
        from coverage import Coverage as Library
    except ImportError:
        raise ValueError("--coverage needs the package coverage: pip install coverage") from None
    found = Coverage()
    files = [file for folder in FOLDERS for file in sorted((PACKAGE / folder).rglob("*.py"))]
    library = Library(data_file=None, config_file=False, include=[str(file) for file in files])
    library.exclude(REFUSALS)
    library.start()
    try:
        yield found
    finally:
        library.stop()
        for file in files:
            missing = _inside_functions(file) & set(library.analysis2(str(file))[3])
            if missing:
                found.missed[str(file.relative_to(PACKAGE))] = sorted(missing)


def _inside_functions(file: Path) -> set[int]:
    """Lines of function bodies; what a module does when it is imported may have been done before."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines.update(range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1))
    return lines

"""Which lines of the MLX networks and decoders a run comes to, by the coverage library."""

from __future__ import annotations

import ast
import sys
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
    """`missed` is, once the run is over, what no stage came to: file in the package -> line -> its function."""

    def __init__(self) -> None:
        self.missed: dict[str, dict[int, str]] = {}


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
    _forget_results()
    library.start()
    try:
        yield found
    finally:
        library.stop()
        for file in files:
            inside = _inside_functions(file)
            missing = [line for line in library.analysis2(str(file))[3] if line in inside]
            if missing:
                found.missed[str(file.relative_to(PACKAGE))] = {line: inside[line] for line in missing}


def _forget_results() -> None:
    """Empty the caches of functions: what one remembers from before would hide the lines that make it."""
    homes = tuple(f"{mlx_cosyvoice.__name__}.{folder}" for folder in FOLDERS)
    for module in [module for name, module in sys.modules.items() if name.startswith(homes)]:
        for clear in [getattr(value, "cache_clear", None) for value in vars(module).values()]:
            if clear is not None:
                clear()


def _inside_functions(file: Path) -> dict[int, str]:
    """Lines of function bodies and whose; what a module does when it is imported may have been done before."""
    lines: dict[int, str] = {}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):  # the inner ones come later
        if isinstance(node, ast.FunctionDef):
            lines |= dict.fromkeys(range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1), node.name)
    return lines

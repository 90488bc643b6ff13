"""Which lines of the MLX networks and decoders a run comes to, by the coverage library."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.nn as nn

import mlx_cosyvoice
from mlx_cosyvoice.families.declaration import Family, imported
from parity.memoized import forget_results

PACKAGE = Path(mlx_cosyvoice.__file__).parent
#: The networks, and what runs them. `nn/cpu` holds kernels in place of others.
NETWORKS = ("llm", "flow", "vocoder", "speech_tokenizer", "speaker_encoder")
FOLDERS = (*NETWORKS, "decoding")
HOMES = tuple(f"{mlx_cosyvoice.__name__}.{folder}" for folder in NETWORKS)

#: Lines that only refuse what is wrong.
REFUSALS = r"^\s*raise "


class Coverage:
    """`missed` is, once the run is over, what no stage came to: file in the package -> line -> its function."""

    def __init__(self) -> None:
        self.missed: dict[str, dict[int, str]] = {}

    def missed_of(self, family: Family) -> dict[str, dict[int, str]]:
        """`missed`, without the files that only networks of other families are made of."""
        others = _files_of_others(family)
        return {file: lines for file, lines in self.missed.items() if file not in others}


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
    forget_results()
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


def _inside_functions(file: Path) -> dict[int, str]:
    """Lines of function bodies and whose; what a module does when it is imported may have been done before."""
    lines: dict[int, str] = {}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):  # the inner ones come later
        if isinstance(node, ast.FunctionDef):
            lines |= dict.fromkeys(range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1), node.name)
    return lines


def _files_of_others(family: Family) -> set[str]:
    """Files of the networks that the package exports, except those that a network of the family needs."""
    exported = [value for home in HOMES for value in vars(import_module(home)).values()]
    networks = [value for value in exported if isinstance(value, type) and issubclass(value, nn.Module)]
    others = _modules_behind(networks) - _modules_behind(imported(one.network) for one in family.components)
    return {str(Path(str(sys.modules[name].__file__)).relative_to(PACKAGE)) for name in others}


def _modules_behind(classes: Iterable[Any]) -> set[str]:
    """Modules of the networks' folders that define these classes, or what they are made of."""
    found: set[str] = set()
    waiting = {one.__module__ for one in classes}
    while waiting:
        name = waiting.pop()
        found.add(name)
        values = vars(sys.modules[name]).values()
        homes = [one.__name__ if isinstance(one, ModuleType) else getattr(one, "__module__", None) for one in values]
        waiting |= {home for home in homes if isinstance(home, str) and home.startswith(HOMES)} - found
    return found

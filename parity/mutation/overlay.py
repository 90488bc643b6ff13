"""Lets a process import a file of the package as if it had been edited; nothing is written."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import PurePosixPath
from types import CodeType, ModuleType


class _Edited(SourceFileLoader):
    text: str

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.text, self.path, "exec", dont_inherit=True)


class _Finder(MetaPathFinder):
    def __init__(self, module: str, text: str) -> None:
        self.module, self.text = module, text

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path) if fullname == self.module else None
        if spec is not None and spec.origin is not None:
            spec.loader = _Edited(fullname, spec.origin)
            spec.loader.text = self.text
        return spec


def module_of(file: str) -> str:
    """The name under which a file of the package is imported."""
    parts = PurePosixPath(file).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def install(file: str, text: str) -> None:
    """Let this process see `text` in place of a file, which nobody may have imported yet.

    Raises:
        RuntimeError: it was imported already.
    """
    module = module_of(file)
    if module in sys.modules:
        raise RuntimeError(f"{module} was imported before it was edited")
    sys.meta_path.insert(0, _Finder(module, text))

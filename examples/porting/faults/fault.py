"""What a planted fault is, and how it is put into a copy of a public port."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

#: A piece of a source file, which must stand there once, and what takes its place.
Edit = tuple[str, str]


@dataclass(frozen=True)
class Fault:
    """A mistake that somebody could make in a port.

    Attributes:
        name: in kebab case.
        mistake: what the porter did, in one sentence.
        edits: how the port's source changes.
        expected: where it is to be named: the module that computes something else or, where that has no twin, the
            smallest module around it that has one. Paths of the original, with `*` and `[...]` as in file names, after
            `stage/` where the port has several stages. The outermost module is called as the stage is.
        missed: why it is named elsewhere, if it is.
    """

    name: str
    mistake: str
    edits: tuple[Edit, ...]
    expected: tuple[str, ...]
    missed: str = ""


@dataclass(frozen=True)
class PublicPort:
    """A public port: the module that its source is in, its faults, and what mends it where it is not healthy.

    `later` are faults that were thought of after the harness had been changed for one of the first.
    """

    module: str
    faults: tuple[Fault, ...]
    mended: tuple[Edit, ...] = ()
    later: tuple[Fault, ...] = ()


class EditError(ValueError):
    """A piece of source that is not there, or more than once; the message says which."""


def edited(source: str, edits: Sequence[Edit]) -> str:
    """A source with every edit made in turn.

    Raises:
        EditError: what is to be replaced does not stand there exactly once.
    """
    for old, new in edits:
        count = source.count(old)
        if count != 1:
            raise EditError(f"{old.strip()!r} stands there {count} times, not once: is this the pinned version?")
        source = source.replace(old, new)
    return source


@contextmanager
def in_place_of(module: str, edits: Sequence[Edit]) -> Iterator[None]:
    """Let an edited copy of a module be imported in its place; the installed package stays as it is.

    Raises:
        ModuleNotFoundError: it is not installed.
        EditError: see `edited`.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{module} is not installed", name=module)
    source, known = Path(spec.origin), sys.modules.get(module)
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        copy = Path(folder) / source.name
        copy.write_text(edited(source.read_text(encoding="utf-8"), edits), encoding="utf-8")
        try:
            sys.modules[module] = _imported(module, copy)
            yield
        finally:
            sys.modules.pop(module, None)
            if known is not None:
                sys.modules[module] = known


def _imported(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module

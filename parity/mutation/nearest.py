"""The unit tests of a file: what they catch and parity does not is a miss."""

from __future__ import annotations

import ast
import os
import re
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parity.mutation.mutant import Mutant
from parity.mutation.overlay import install, module_of

#: Test files that are run for one mutant.
MOST = 3
#: Seconds of processor time for them.
TIME_LIMIT = 180


def nearest(root: Path, file: str) -> list[Path]:
    """The test files that use most of a file's classes, functions and methods, or its package; then the shortest.

    To be in the folder of the package's tests counts as a use.
    """
    tree = ast.parse((root / file).read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
    names = [node.name for node in nodes if not node.name.startswith("_")]
    modules = [re.escape(name) for name in (module_of(file), module_of(file).rpartition(".")[0])]
    words = re.compile(rf"\b({'|'.join([*modules, *names])})\b")
    texts = {path: path.read_text(encoding="utf-8") for path in (root / "tests").rglob("test_*.py")}
    used = {path: len(set(words.findall(text))) for path, text in texts.items()}
    beside = root / "tests" / Path(file).parts[1]
    order = {path: (-uses - (beside in path.parents), len(texts[path])) for path, uses in used.items() if uses}
    return sorted(order, key=order.__getitem__)[:MOST]


class _Failures:
    """A plugin of pytest that notes which tests fail."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.names.append(report.nodeid)


def failing(root: Path, mutant: Mutant, send: Callable[[Any], None]) -> None:
    """Run the nearest tests of a mutant in this process, and hand over the first that fails; () if none does."""
    import pytest

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CPU, (TIME_LIMIT, TIME_LIMIT))
    os.chdir(root)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    install(mutant.file, mutant.text)
    failures = _Failures()
    files = [str(path) for path in nearest(root, mutant.file)]
    if files:
        pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *files], plugins=[failures])
    send(tuple(failures.names))

"""Which stages run a line of the package, and which modules of a model a function computes for."""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

#: A file of the package, and a line of it.
Line = tuple[str, int]


@dataclass
class Reach:
    """What was seen of the healthy model.

    Attributes:
        stages: line -> the stages that run it.
        owners: line -> official paths of the modules that it computes for; stages where that is no module's work.
        built: line -> official paths of the modules that it builds.
        modules: official paths of all modules.
    """

    stages: dict[Line, set[str]] = field(default_factory=dict)
    owners: dict[Line, set[str]] = field(default_factory=dict)
    built: dict[Line, set[str]] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)

    def parent(self, path: str) -> str:
        """The innermost module around one; itself where there is none."""
        names = path.split(".")
        enclosing = (".".join(names[:count]) for count in range(len(names) - 1, 0, -1))
        return next((one for one in enclosing if one in self.modules), path)


class Tracer:
    """Notes what runs. Objects that modules may turn out to be are kept by their identity until `reach` is asked for.

    Args:
        root: of the checkout, with a slash at its end.
        files: those that count.
    """

    def __init__(self, root: str, files: Collection[str]) -> None:
        self._files = {f"{root}{file}": file for file in files}
        self._ran: dict[Line, set[str]] = defaultdict(set)
        self._for: dict[Line, set[tuple[int, str]]] = defaultdict(set)
        self._built: dict[Line, set[int]] = defaultdict(set)
        self._kept: dict[int, Any] = {}
        self._stage = ""

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Note what runs in a stage; "" for what runs when a model is loaded."""
        self._stage = stage
        before = sys.gettrace()
        threading.settrace(self._enter)
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)
            threading.settrace(before)  # type: ignore[arg-type]

    def _enter(self, frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_name == "__init__" and not self._stage:
            self._build(frame)
        file = self._files.get(frame.f_code.co_filename)
        if file is None:
            return None
        owner, stage = self._owner(frame), self._stage

        def line(frame: FrameType, event: str, argument: object) -> Any:
            if event == "line":
                place = file, frame.f_lineno
                self._ran[place].add(stage)
                self._for[place].add((owner, stage))
            return line

        return line

    def _owner(self, frame: FrameType | None) -> int:
        """Identity of the innermost module that a frame runs for; 0 for none."""
        module = _innermost(frame)
        if module is None and threading.current_thread() is not threading.main_thread():
            # a thread works for who waits for it
            module = _innermost(sys._current_frames().get(threading.main_thread().ident or 0))
        if module is None:
            return 0
        self._kept[id(module)] = module
        return id(module)

    def _build(self, frame: FrameType) -> None:
        """A constructor runs: the line that asked for it builds the module."""
        module, caller = _module(frame), frame.f_back
        while caller is not None and module is not None and _self(caller) is module:
            caller = caller.f_back
        if module is not None and caller is not None and caller.f_code.co_filename in self._files:
            self._kept[id(module)] = module
            self._built[self._files[caller.f_code.co_filename], caller.f_lineno].add(id(module))

    def reach(self, paths: dict[int, str]) -> Reach:
        """Everything noted.

        Args:
            paths: identity of each module of the model -> its official path.
        """
        found = Reach(modules=set(paths.values()))
        for place, stages in self._ran.items():
            found.stages[place] = stages - {""}
        for place, owners in self._for.items():
            known = {paths[owner] for owner, _ in owners if owner in paths}
            found.owners[place] = known | {stage for owner, stage in owners if owner not in paths and stage}
        for place, built in self._built.items():
            found.built[place] = {paths[module] for module in built if module in paths}
        return found


def _self(frame: FrameType) -> Any:
    code = frame.f_code
    return frame.f_locals.get("self") if code.co_argcount and code.co_varnames[0] == "self" else None


def _module(frame: FrameType) -> Any:
    """The module whose method a frame is."""
    import mlx.nn as nn

    owner = _self(frame)
    return owner if isinstance(owner, nn.Module) else None


def _innermost(frame: FrameType | None) -> Any:
    """The first module that a frame, or one that it was called from, is a method of."""
    while frame is not None and (module := _module(frame)) is None:
        frame = frame.f_back
    return None if frame is None else module

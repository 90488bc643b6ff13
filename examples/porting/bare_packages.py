"""Makes modules of an installed package importable without what the package imports for other purposes.

A port's networks need MLX alone; the packages that they come in also import time stamps, audio formats and web servers.
"""

import importlib.util
import sys
import types
from pathlib import Path


def pass_by_init(package, install):
    """From now on `import` finds what is in `package` without running its `__init__`, nor those of packages around it.

    Args:
        package: its dotted name.
        install: what the user is told to do where the outermost package is not there.
    """
    outermost, *inner = package.split(".")
    if outermost not in sys.modules:
        spec = importlib.util.find_spec(outermost)
        if spec is None or not spec.submodule_search_locations:
            raise ModuleNotFoundError(f"{outermost} is not installed: {install}", name=outermost)
        _register(outermost, Path(spec.submodule_search_locations[0]))
    name = outermost
    for part in inner:
        folder = Path(sys.modules[name].__path__[0]) / part
        name = f"{name}.{part}"
        if name not in sys.modules:
            _register(name, folder)


def _register(package, folder):
    made = sys.modules[package] = types.ModuleType(package)
    made.__path__ = [str(folder)]

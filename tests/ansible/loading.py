"""Plugins of the collection as plain Python modules: their pure functions need no Ansible."""

import importlib.util
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


def plugin(path: str) -> ModuleType:
    """The module at PATH below plugins/."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / "plugins" / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""Node, admission and observation know no maker: what one family needs is in its backend or is data."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src/hami_dra"
LAYERS = ("node", "admission", "observe")
# Declared data: the resource names and annotations of NVIDIA's family, as a profile declares those of others,
# and where the families that are declared by data and by profile are put together.
DATA = {SOURCE / "admission/families.py", SOURCE / "admission/settings.py"}
WORDS = ("nvidia", "nvml", "hami-core-gpu")
# Names in hami_dra.model.names that are NVIDIA's own.
OWN_NAMES = ("DRIVER", "DEVICE_TYPE", "MIG_TYPE")
FILES = sorted(path for layer in LAYERS for path in (SOURCE / layer).rglob("*.py") if path not in DATA)


def special_cases(tree: ast.Module) -> Iterator[str]:
    """`line: what`, for everything in a module that is of one maker; what people read (docstrings) is not."""
    docstrings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if node not in docstrings and any(map(_of_one_maker, _texts(node))):
            yield f"{getattr(node, 'lineno', 0)}: {ast.unparse(node)}"


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names)
    elif isinstance(node, ast.ImportFrom):
        if node.module != "hami_dra.admission.families":
            yield from (f"{node.module}.{name.name}" for name in node.names)
    elif isinstance(node, ast.Attribute):
        yield f"{getattr(node.value, 'id', '')}.{node.attr}"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def _of_one_maker(text: str) -> bool:
    own = any(text.endswith(f"names.{name}") for name in OWN_NAMES)
    return own or any(word in text.lower() for word in WORDS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_maker_has_a_special_case(path: Path) -> None:
    assert list(special_cases(ast.parse(path.read_text()))) == []


def test_the_page_names_no_maker() -> None:
    for path in (SOURCE / "observe/page").iterdir():
        assert "nvidia" not in path.read_text().lower(), path.name


@pytest.mark.parametrize(
    "line",
    [
        "import pynvml",
        "from hami_dra.devices import nvidia_health",
        "from hami_dra.devices.nvidia import NvidiaBackend",
        "from hami_dra.model.names import DRIVER",
        "x = name.startswith('nvidia.com/')",
        "if driver == names.DRIVER: pass",
        "x = f'/dev/nvidia{minor}'",
    ],
)
def test_a_special_case_would_be_seen(line: str) -> None:
    assert list(special_cases(ast.parse(line)))

"""After a power cut any file may be old, half, empty or gone: kubelet hears the same, and nothing is left."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hami_dra.kube import RESOURCE_CLAIMS
from hami_dra.node import limiter_files, sweep
from tests.support.crash_points import Node

DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


def cut(node: Node) -> list[Path]:
    """What lies in memory is gone; returns the files that are left."""
    shutil.rmtree(node.cdi)
    return [path for path in node.state.rglob("*") if path.is_file()]


def nothing_left(node: Node) -> None:
    driver = node.driver()
    for ref in (node.mine, node.neighbour):
        driver.unprepare(ref)
    assert (driver.folders.ids(), driver.cdi.uids(), driver.checkpoint.load()) == (set(), set(), {})


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_are_made_anew_and_kubelet_hears_the_same(tmp_path: Path, damage: str) -> None:
    node = Node(tmp_path)
    before = [node.driver().prepare(ref) for ref in (node.mine, node.neighbour)]
    files = {path: path.read_bytes() for path in node.state.rglob("limits")}
    for path in cut(node):
        DAMAGE[damage](path)
    driver = node.driver()
    driver.restore()
    sweep.sweep(driver, node.kube)
    assert [driver.prepare(ref) for ref in (node.mine, node.neighbour)] == before
    assert {path: path.read_bytes() for path in node.state.rglob("limits")} == files
    nothing_left(node)


def test_a_checkpoint_from_before_the_last_prepare_and_unprepare_converges(tmp_path: Path) -> None:
    node = Node(tmp_path)
    old = (node.state / "checkpoint.json").read_bytes()
    node.driver().prepare(node.mine)
    node.driver().unprepare(node.neighbour)
    node.kube.delete(RESOURCE_CLAIMS, node.neighbour.name, node.neighbour.namespace)
    cut(node)
    (node.state / "checkpoint.json").write_bytes(old)
    driver = node.driver()
    driver.restore()
    sweep.sweep(driver, node.kube)
    driver.prepare(node.mine)
    assert driver.checkpoint.load().keys() == driver.cdi.uids() == {node.mine.uid}
    nothing_left(node)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_limiter_is_put_back_when_the_plugin_starts(tmp_path: Path, damage: str) -> None:
    image = tmp_path / "image.so"
    image.write_bytes(b"the limiter")
    files = limiter_files.install(image, tmp_path / "lib")
    for path in (files.library, files.preload):
        DAMAGE[damage](path)
    assert limiter_files.install(image, tmp_path / "lib") == files
    assert files.library.read_bytes() == b"the limiter"
    assert files.preload.read_text().strip() == limiter_files.IN_CONTAINER

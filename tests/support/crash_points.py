"""Kills a plugin's driver at each of its writes, or fills the disk: crash_points FOLDER.

Each attempt is a child process: its calls that change the disk are counted, and at one of them, before or
after the call, it dies by SIGKILL, or from then on there is no space. A second child starts as after a
restart, with space again. Prints one JSON object: the calls by operation, and what went wrong, if anything.
"""

from __future__ import annotations

import errno
import functools
import itertools
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hami_dra import log
from hami_dra.kube import NODES, RESOURCE_CLAIMS
from hami_dra.model.claim import ClaimRef
from hami_dra.model.errors import HamiError
from hami_dra.node import files, sweep
from hami_dra.node.driver import NodeDriver
from tests.support.cards import A10, NODE, SECOND, card_driver, claim, share
from tests.support.fake_kube import FakeKube

CALLS = ("open", "rename", "link", "unlink", "mkdir", "rmdir", "chmod", "fchmod", "posix_fallocate")
NEED_SPACE = {"open", "rename", "link", "exchange", "mkdir", "posix_fallocate"}
HOW = ("killed", "full")


class Node:
    """A state folder, a CDI folder, and two claims in the API: `neighbour` is prepared already."""

    def __init__(self, folder: Path) -> None:
        self.state, self.cdi = folder / "state", folder / "cdi"
        self.kube = FakeKube()
        self.kube.create(NODES, {"metadata": {"name": NODE}})
        self.neighbour = self._claim("neighbour", share("1Gi", "5"))
        self.mine = self._claim("mine", share("1Gi"), share("2Gi", "5", SECOND.name))
        self.state.mkdir(parents=True)
        self.driver().prepare(self.neighbour)

    def _claim(self, name: str, *shares: dict[str, Any]) -> ClaimRef:
        body = self.kube.create(RESOURCE_CLAIMS, claim(name, *shares), "default")
        return ClaimRef("default", name, body["metadata"]["uid"])

    def driver(self) -> NodeDriver:
        """A driver as after a start."""
        return card_driver(self.kube, self.state, self.cdi, A10, SECOND)

    def files(self) -> list[str]:
        """What is on the disk."""
        found = [path for folder in (self.state, self.cdi) for path in folder.rglob("*") if path.is_file()]
        return [str(path.relative_to(self.state.parent)) for path in found]


def break_at(point: int, after: bool, how: str, seen: Path) -> None:
    """Wrap the calls that change the disk. Before or AFTER the one with number POINT, which is written to
    SEEN, the process dies ("killed") or the disk is "full"."""
    count = itertools.count()

    def wrapped(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def counted(*args: Any, **options: Any) -> Any:
            if name == "open" and not args[1] & os.O_CREAT:
                return call(*args, **options)
            at = next(count)
            if at == point:
                seen.write_text(f"{name} {Path(str(args[0])).name}")
            if at >= point + after:
                no_more(name, how)
            done = call(*args, **options)
            if at == point and after:
                no_more("", how)
            return done

        return counted

    for name in CALLS:
        setattr(os, name, wrapped(name, getattr(os, name)))
    files.exchange = wrapped("exchange", files.exchange)


def no_more(name: str, how: str) -> None:
    """From now on the process is dead, or calls that need space fail, and writes into open files."""
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    if name in NEED_SPACE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def in_child(action: Callable[[], Any]) -> int:
    """Run ACTION in a process of its own; its wait status."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def operations(node: Node) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """What is killed, and what brings its node into the state before it."""

    def prepare() -> Any:
        return node.driver().prepare(node.mine)

    def nothing() -> None:
        pass

    def rebooted() -> None:
        prepare()
        shutil.rmtree(node.cdi)

    def damaged() -> None:
        prepare()
        (node.state / "checkpoint.json").write_text("{")

    def gone() -> None:
        prepare()
        node.driver().unprepare(node.neighbour)

    return {
        "prepare": (nothing, prepare),
        "prepare of a claim that goes": (nothing, prepare),
        "prepare again": (rebooted, prepare),
        "unprepare": (prepare, lambda: node.driver().unprepare(node.mine)),
        "restore": (rebooted, lambda: node.driver().restore()),
        "rebuild": (damaged, lambda: node.driver().restore()),
        "sweep": (gone, lambda: sweep.sweep(node.driver(), FakeKube())),
    }


def main(folder: Path) -> None:
    log.configure("error", "json")
    points: dict[str, list[str]] = {}
    wrong: list[str] = []
    for name in operations(Node(folder / "names")):
        points[name] = []
        for point in itertools.count():
            written = [
                attempt(folder, name, point, after, how, wrong) for after in (False, True) for how in HOW
            ]
            if "" in written:
                break
            points[name].append(written[0])
    print(json.dumps({"points": points, "wrong": wrong}))


def attempt(folder: Path, name: str, point: int, after: bool, how: str, wrong: list[str]) -> str:
    """Break operation NAME at one point; the call that it broke at, empty when it has no such point."""
    shutil.rmtree(folder / "node", ignore_errors=True)
    node = Node(folder / "node")
    arrange, act = operations(node)[name]
    arrange()
    seen = folder / "seen"
    seen.write_text("")

    def broken() -> None:
        break_at(point, after, how, seen)
        try:
            act()
        except (OSError, HamiError):
            if how == "killed":
                raise

    status = in_child(broken)
    call = seen.read_text()
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        wrong.append(f"{name} failed by a defect")
    elif call and in_child(functools.partial(converge, node, name)):
        wrong.append(f"{name}: {how} {'after' if after else 'before'} {call} ({point})")
    return call


def converge(node: Node, name: str) -> None:
    """The plugin starts again, kubelet asks again, and in the end nothing is left over."""
    driver = node.driver()
    if not driver.load().keys() <= {node.neighbour.uid, node.mine.uid}:
        raise AssertionError("the checkpoint has a stranger")
    driver.restore()
    assert driver.checkpoint.load().keys() <= driver.cdi.uids(), "a prepared claim without its CDI file"
    if name != "sweep":
        neighbour = next(iter(driver.checkpoint.load()[node.neighbour.uid].shares))
        assert (driver.folders.path(neighbour.share_id) / "limits").is_file()
    if name in ("prepare", "prepare again", "restore", "rebuild"):
        driver.prepare(node.mine)
        driver.prepare(node.neighbour)
        assert len(driver.cdi.uids()) == 2
        assert len(driver.folders.ids()) == 3
    driver.unprepare(node.mine)
    driver.unprepare(node.neighbour)
    sweep.sweep(driver, node.kube)
    left = {path for path in node.files() if not path.startswith("state/") or "/shares/" in path}
    assert not left, left
    assert not [path for path in node.files() if path.endswith(".tmp")], "a file that nobody finished"
    assert driver.checkpoint.load() == {}


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""A plugin on real sockets in a folder of its own, with an API server in memory behind it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hami_dra.devices.backend import Backend
from hami_dra.kube import NODES, RESOURCE_CLAIMS
from hami_dra.model.names import DRIVER
from hami_dra.node.plugin import Config, Plugin
from hami_dra.node.process import Member, Process
from hami_dra.observe.device_usage import DeviceUsage
from tests.support.cards import A10, NODE, SECOND, CardBackend
from tests.support.fake_kube import FakeKube
from tests.support.kubelet import Kubelet
from tests.support.plugin_process import config_in

CHECKOUT = Path(__file__).parents[2]
Add = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def folder(short_path: Path) -> Path:
    """The places of a plugin."""
    for part in ("registry", "plugins", "etc-cdi", "state"):
        (short_path / part).mkdir()
    (short_path / "libvgpu.so").write_bytes(b"limiter 1")
    return short_path


@pytest.fixture
def config(folder: Path) -> Config:
    return config_in(folder)


@pytest.fixture
def kube() -> FakeKube:
    fake = FakeKube()
    fake.create(NODES, {"metadata": {"name": NODE}})
    return fake


@pytest.fixture
def add(kube: FakeKube) -> Add:
    """Store a claim; returns it with the uid that it got."""
    return lambda body: kube.create(RESOURCE_CLAIMS, body, "default")


def specification(config: Config, driver: str, body: dict[str, Any]) -> dict[str, Any]:
    """The CDI file that a driver has written for a claim."""
    path = config.cdi / f"k8s.{driver}-claim_{body['metadata']['uid']}.yaml"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


Start = Callable[..., Plugin]
StartAll = Callable[..., Process]
KubeletOf = Callable[[str], Kubelet]
Spawn = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def backend(config: Config) -> CardBackend:
    """The node's cards: the guide's and a second one."""
    return CardBackend(A10, SECOND, cdi=[config.cdi.parent / "etc-cdi"])


@pytest.fixture
def start(config: Config, kube: FakeKube, backend: CardBackend) -> Iterator[Start]:
    """Start a plugin with the node's cards; all are stopped at the end."""
    running: list[Plugin] = []

    def run(**options: Any) -> Plugin:
        plugin = Plugin(replace(config, **options), kube, backend)
        plugin.start()
        running.append(plugin)
        return plugin

    yield run
    for plugin in running:
        plugin.stop()


@pytest.fixture(params=["v1", "v1beta1"])
def kubelet(request: pytest.FixtureRequest, config: Config, start: Start) -> Iterator[Kubelet]:
    """A kubelet of either API version, registered with a running plugin."""
    start()
    one = Kubelet(config.registry, prefer=request.param)
    one.register()
    yield one
    one.close()


@pytest.fixture
def spawn(folder: Path) -> Iterator[Spawn]:
    """Start the plugin as a process of its own, with its Pod's uid where one is given.

    It finds its API server by the kubeconfig in FOLDER, and logs into `log` there. All are killed at the end.
    """
    processes: list[subprocess.Popen[bytes]] = []

    def run(*pod_uid: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.support.plugin_process", str(folder), *pod_uid]
        with open(folder / "log", "ab") as log:
            process = subprocess.Popen(command, cwd=CHECKOUT, stderr=log, env={"PYTHONPATH": "src:."})
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.wait()


@contextmanager
def held_up(folder: Path, process: subprocess.Popen[bytes]) -> Iterator[Callable[[], bool]]:
    """Keep the plugin's lock, so that a call takes as long as we want; yields whether one waits for it."""
    lock = folder / "state" / "lock"

    def waits() -> bool:
        files = Path(f"/proc/{process.pid}/fd").iterdir()
        return any(os.path.realpath(file) == str(lock.resolve()) for file in files)

    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield waits


@pytest.fixture
def start_all(config: Config, kube: FakeKube) -> Iterator[StartAll]:
    """Start a process with the given backends; NVIDIA's keeps its state at the top."""
    running: list[Process] = []

    def state(driver: str) -> Path:
        return config.state if driver == DRIVER else config.state / "families" / driver

    def run(*backends: Backend, **options: Any) -> Process:
        members = [Member(each, state(each.driver)) for each in backends]
        one = Process(replace(config, **options), kube, members, DeviceUsage(NODE, backends).text)
        one.start()
        running.append(one)
        return one

    yield run
    for one in running:
        one.stop()


@pytest.fixture
def kubelet_of(config: Config) -> Iterator[KubeletOf]:
    """A kubelet with which the plugin of a driver is registered."""
    with ExitStack() as stack:

        def register(driver: str) -> Kubelet:
            one = Kubelet(config.registry, driver=driver)
            one.register()
            stack.callback(one.close)
            return one

        yield register

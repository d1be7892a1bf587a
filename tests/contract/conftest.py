"""A plugin on real sockets in a folder of its own, with an API server in memory behind it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hami_dra.kube import NODES, RESOURCE_CLAIMS
from hami_dra.node.plugin import Config, Plugin
from tests.support.cards import A10, NODE, SECOND, CardBackend
from tests.support.fake_kube import FakeKube
from tests.support.kubelet import Kubelet

Add = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: the names of unix sockets are."""
    with tempfile.TemporaryDirectory(prefix="hami", dir="/tmp") as name:
        path = Path(name)
        for part in ("registry", "plugins", "etc-cdi", "state"):
            (path / part).mkdir()
        (path / "libvgpu.so").write_bytes(b"limiter 1")
        yield path


@pytest.fixture
def config(folder: Path) -> Config:
    return Config(
        node=NODE,
        state=folder / "state",
        limiter=folder / "libvgpu.so",
        cdi=folder / "cdi",
        plugins=folder / "plugins",
        registry=folder / "registry",
    )


@pytest.fixture
def kube() -> FakeKube:
    fake = FakeKube()
    fake.create(NODES, {"metadata": {"name": NODE}})
    return fake


@pytest.fixture
def add(kube: FakeKube) -> Add:
    """Store a claim; returns it with the uid that it got."""
    return lambda body: kube.create(RESOURCE_CLAIMS, body, "default")


Start = Callable[..., Plugin]


@pytest.fixture
def start(config: Config, kube: FakeKube) -> Iterator[Start]:
    """Start a plugin with the guide's card and a second one; all are stopped at the end."""
    running: list[Plugin] = []

    def run(**options: Any) -> Plugin:
        plugin = Plugin(
            replace(config, **options), kube, CardBackend(A10, SECOND, cdi=[config.cdi.parent / "etc-cdi"])
        )
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

"""Socket names fit the kernel's limit, and sockets of killed plugins go."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from hami_dra.model.names import DRIVER
from hami_dra.node import sockets

UID = "d99dc6df-092c-4f3a-ac55-cfb88c017af7"
PLUGINS, REGISTRY = Path("/var/lib/kubelet/plugins"), Path("/var/lib/kubelet/plugins_registry")


def test_every_name_fits_the_kernels_limit_and_differs_by_pod() -> None:
    ours, other = (sockets.paths(DRIVER, PLUGINS, REGISTRY, uid) for uid in (UID, UID[::-1]))
    every = [ours.service, ours.registration, other.service, other.registration]
    assert len(set(every)) == 4
    assert max(len(os.fsencode(path)) for path in every) <= 107
    assert ours.registration.name.endswith("-reg.sock")


def test_without_a_pod_the_names_are_the_plain_ones() -> None:
    plain = sockets.paths(DRIVER, PLUGINS, REGISTRY)
    assert plain.registration == REGISTRY / "hami-core-gpu.project-hami.io-reg.sock"
    assert plain.service == PLUGINS / "hami-core-gpu.project-hami.io" / "dra.sock"


def test_dead_sockets_of_ours_are_removed_and_living_or_foreign_ones_stay(short_path: Path) -> None:
    own = sockets.paths(DRIVER, short_path, short_path, "1")
    own.service.parent.mkdir()
    kept = [
        sockets.paths(DRIVER, short_path, short_path, "alive").registration,
        short_path / "gpu.nvidia.com-reg.sock",
    ]
    dead = sockets.paths(DRIVER, short_path, short_path, "dead").registration
    opened = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    for one, path in zip(opened, [*kept, dead], strict=True):
        one.bind(str(path))
    opened[0].listen()
    assert sockets.remove_dead(own) == [dead]
    assert all(path.exists() for path in kept)
    for one in opened:
        one.close()

"""The backends that must conform: NVIDIA's, one for each shipped profile, and the example to copy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hami_dra.cli import simulated
from hami_dra.devices.backend import Backend
from hami_dra.devices.driver_root import DriverRoot
from hami_dra.devices.nvidia import NvidiaBackend
from tests.conformance.example_backend import ExampleBackend
from tests.support import trees

PROFILES = sorted(path.stem for path in trees.PROFILES.glob("*.yaml"))


@pytest.fixture(scope="session")
def nvidia(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Simulated cards behind the real NVML calls."""
    before = dict(os.environ)
    os.environ["HAMI_SIM_STATE"] = str(tmp_path_factory.mktemp("sim") / "state")
    with simulated.driver_root(trees.MIXED / "etc/hami-sim/gpus.yaml") as root:
        yield NvidiaBackend(DriverRoot(root, Path("/run/nvidia/driver")))
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(params=["example", pytest.param("nvidia", marks=pytest.mark.native), *PROFILES])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn."""
    make: dict[str, Callable[[], Backend]] = {
        "example": ExampleBackend,
        "nvidia": lambda: request.getfixturevalue("nvidia"),
    }
    return make.get(request.param, lambda: trees.backend(request.param))()

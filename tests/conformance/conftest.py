"""The backends that must conform: NVIDIA's, one for each shipped profile, and the example to copy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from hami_dra.cli import simulated
from hami_dra.devices.backend import Backend
from hami_dra.devices.driver_root import DriverRoot
from hami_dra.devices.nvidia import NvidiaBackend
from tests.conformance.example_backend import ExampleBackend
from tests.support import trees

MIG_CARD = {
    "productName": "NVIDIA A30",
    "uuid": "GPU-5d3c1f60-1111-4a0a-9c55-0000000000a0",
    "minor": 2,
    "memoryMiB": 24576,
    "pciBusId": "0000:c5:00.0",
    "migDevices": "1g.6gb 1g.6gb 2g.12gb",
}
UNCUT_CARD = MIG_CARD | {
    "uuid": "GPU-5d3c1f60-1111-4a0a-9c55-0000000000a1",
    "minor": 3,
    "pciBusId": "0000:c6:00.0",
    "migDevices": "none",
}
PROFILES = sorted(path.stem for path in trees.PROFILES.glob("*.yaml"))


@pytest.fixture(scope="session")
def nvidia(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Simulated cards behind the real NVML calls: two whole, one split by MIG, one that may be."""
    folder = tmp_path_factory.mktemp("sim")
    body = yaml.safe_load((trees.MIXED / "etc/hami-sim/gpus.yaml").read_text())
    body["gpus"] += [{**body["gpus"][0], **MIG_CARD}, {**body["gpus"][0], **UNCUT_CARD}]
    (folder / "gpus.yaml").write_text(yaml.safe_dump(body))
    before = dict(os.environ)
    os.environ["HAMI_SIM_STATE"] = str(folder / "state")
    with simulated.driver_root(folder / "gpus.yaml") as root:
        yield NvidiaBackend(DriverRoot(root, Path("/run/nvidia/driver")), partitions=folder / "made.json")
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

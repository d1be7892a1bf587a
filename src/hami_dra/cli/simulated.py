"""A simulated driver root for `hami slice`, as the role gpu_simulator lays it out on a node."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from hami_dra import native_files
from hami_dra.model.errors import DriverError, UserError


@contextmanager
def driver_root(simulation: Path) -> Iterator[Path]:
    """The library, and the places in sysfs of the cards that the file SIMULATION describes."""
    if not simulation.is_file():
        raise UserError(
            "no such file", where=str(simulation), fix="Give --sim a file like tests/guide/gpus-a10.yaml"
        )
    try:
        gpus = (yaml.safe_load(simulation.read_text()) or {}).get("gpus") or []
        places = [(gpu["pciBusId"], gpu["pcieRoot"]) for gpu in gpus if gpu.get("pcieRoot")]
    except (yaml.YAMLError, ValueError, AttributeError, LookupError, TypeError) as problem:
        raise UserError(
            "not a description of simulated GPUs",
            where=str(simulation),
            fix="Give --sim a file like tests/guide/gpus-a10.yaml",
        ) from problem
    os.environ["HAMI_SIM_FILE"] = str(simulation.resolve())
    with tempfile.TemporaryDirectory(prefix="hami-slice-") as folder:
        root = Path(folder)
        library = root / "usr/lib64/libnvidia-ml.so.1"
        library.parent.mkdir(parents=True)
        library.write_bytes(native_files.find("sim/libnvidia-ml.so.1").read_bytes())
        bus = root / "sys/bus/pci/devices"
        bus.mkdir(parents=True)
        for address, pcie_root in places:
            (root / "sys/devices" / pcie_root / address).mkdir(parents=True)
            (bus / address).symlink_to(f"../../../devices/{pcie_root}/{address}")
        yield root


@contextmanager
def drivers_words(simulation: Path) -> Iterator[None]:
    """The simulated driver prints what is wrong with its file: say that instead of NVML's code."""
    with tempfile.TemporaryFile() as said:
        stderr = os.dup(2)
        os.dup2(said.fileno(), 2)
        try:
            yield
        except DriverError as problem:
            said.seek(0)
            text = " ".join(said.read().decode(errors="replace").split())
            raise UserError(text or str(problem), where=str(simulation)) from problem
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)

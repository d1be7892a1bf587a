"""`hami slice`: the ResourceSlice that the plugin would publish on this host, with no cluster."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import yaml

from hami_dra import native_files
from hami_dra.devices.driver_root import DriverRoot
from hami_dra.devices.nvidia import NvidiaBackend
from hami_dra.model.errors import DriverError, UserError
from hami_dra.model.names import DRIVER
from hami_dra.node.slices import resource_slice


@click.command("slice")
@click.option("--node", default=os.uname().nodename, show_default=True, help="Name of the node.")
@click.option(
    "--sim",
    "simulation",
    type=click.Path(path_type=Path),
    help="Describe the simulated GPUs of this file instead of this host's.",
)
@click.option(
    "--driver-root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    help="Where the driver's files are, for example /run/nvidia/driver.",
)
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
def slice_(node: str, simulation: Path | None, driver_root: Path, output: str) -> None:
    """Print the ResourceSlice that the plugin would publish here.

    Its owner reference needs the Node's uid and is left out, as no cluster is asked.
    """
    if simulation is None:
        devices = NvidiaBackend(DriverRoot(driver_root, driver_root)).discover()
    else:
        with _simulated_root(simulation) as root, _drivers_words(simulation):
            devices = NvidiaBackend(DriverRoot(root, root)).discover()
    body = resource_slice(node, DRIVER, devices)
    text = json.dumps(body, indent=2) if output == "json" else yaml.safe_dump(body, sort_keys=False)
    click.echo(text.rstrip("\n"))


@contextmanager
def _simulated_root(simulation: Path) -> Iterator[Path]:
    """A driver root as the role gpu_simulator lays it out: the library, and the cards' places in sysfs."""
    if not simulation.is_file():
        raise UserError(
            "no such file", where=str(simulation), fix="Give --sim a file like tests/guide/gpus-a10.yaml"
        )
    try:
        gpus = (yaml.safe_load(simulation.read_text()) or {}).get("gpus") or []
        places = [(gpu["pciBusId"], gpu["pcieRoot"]) for gpu in gpus if gpu.get("pcieRoot")]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as problem:
        raise UserError(
            f"not a description of simulated GPUs: {problem!r}", where=str(simulation)
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
def _drivers_words(simulation: Path) -> Iterator[None]:
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

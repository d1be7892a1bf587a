"""`hami slice`: the ResourceSlices that the plugin would publish on this host, with no cluster."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from hami_dra.cli import options, simulated
from hami_dra.devices import families
from hami_dra.devices.driver_root import DriverRoot
from hami_dra.devices.host import Host
from hami_dra.devices.nvidia import NvidiaBackend
from hami_dra.model.device import Device
from hami_dra.model.errors import DriverError, UserError
from hami_dra.model.names import DRIVER
from hami_dra.node.slices import resource_slice

_PATH = click.Path(path_type=Path)
_CARDS = "etc/hami-sim/gpus.yaml"


@click.command("slice")
@click.option("--node", default=os.uname().nodename, show_default=True, help="Name of the node.")
@click.option(
    "--sim", "simulation", type=_PATH, help="Describe the simulated GPUs of this file instead of this host's."
)
@click.option("--tree", type=_PATH, help="Describe the simulated host of this folder, all its families.")
@click.option(
    "--driver-root",
    type=_PATH,
    default=Path("/"),
    help="Where NVIDIA's driver files are, for example /run/nvidia/driver.",
)
@click.option("--family", "only", multiple=True, help="This family only; can be given several times.")
@click.option("--profiles", type=_PATH, help="Folder with profiles of your own, <family>.yaml.")
@options.output("yaml", "json")
def slice_(
    node: str,
    simulation: Path | None,
    tree: Path | None,
    driver_root: Path,
    only: tuple[str, ...],
    profiles: Path | None,
    output: str,
) -> None:
    """Print the ResourceSlices that the plugin would publish here, one for each family with devices.

    Their owner reference needs the Node's uid and is left out, as no cluster is asked.

    \b
    Examples:
      hami slice
      hami slice --sim tests/guide/gpus-a10.yaml --node worker-1 -o json
    """
    if tree is not None and not tree.is_dir():
        raise UserError("no such folder", where=str(tree), fix="Give --tree the root of a simulated host")
    if simulation is not None:
        found = {DRIVER: _simulated_cards(simulation)}
    else:
        found = dict(_found(tree, driver_root, only, profiles))
    bodies = [resource_slice(node, driver, devices) for driver, devices in found.items()]
    click.echo(_text(bodies, output))


def _found(
    tree: Path | None, driver_root: Path, only: tuple[str, ...], own: Path | None
) -> Iterator[tuple[str, list[Device]]]:
    """The devices of each family by driver; families that were not asked for by name when they have any."""
    names = only or (families.NVIDIA, *families.known(own))
    good, refused = families.profiles([name for name in names if name != families.NVIDIA], own)
    if refused:
        raise refused[0]
    missing: DriverError | None = None
    empty = True
    if families.NVIDIA in names:
        try:
            cards = _cards(tree, driver_root)
        except DriverError as problem:
            missing, cards = problem, []
        if cards or families.NVIDIA in only:
            empty = False
            yield DRIVER, cards
    root = DriverRoot(tree, tree) if tree else DriverRoot(Path("/"), Path("/"))
    for backend in families.backends(good, Host(root, simulated=tree is not None)):
        devices = backend.discover()
        if devices or only:
            empty = False
            yield backend.driver, devices
    if missing and (empty or families.NVIDIA in only):
        raise missing


def _cards(tree: Path | None, driver_root: Path) -> list[Device]:
    if tree is None:
        root = DriverRoot(driver_root, driver_root)
        if root.library("libnvidia-ml.so.1") is None:
            what = f"no NVIDIA driver is below {driver_root}"
            raise DriverError(f"{what}: give --driver-root its folder, or --sim a file of GPUs")
        return NvidiaBackend(root).discover()
    return _simulated_cards(tree / _CARDS) if (tree / _CARDS).is_file() else []


def _simulated_cards(simulation: Path) -> list[Device]:
    with simulated.driver_root(simulation) as root, simulated.drivers_words(simulation):
        return NvidiaBackend(DriverRoot(root, root)).discover()


def _text(bodies: list[dict[str, Any]], output: str) -> str:
    if output == "yaml":
        return "\n---\n".join(yaml.safe_dump(body, sort_keys=False).rstrip("\n") for body in bodies)
    whole = bodies[0] if len(bodies) == 1 else {"apiVersion": "v1", "kind": "List", "items": bodies}
    return json.dumps(whole, indent=2)

"""Simulated hosts: a folder of files below tests/trees is the root of a node with any mix of devices."""

from __future__ import annotations

import shutil
from pathlib import Path

from hami_dra.devices.driver_root import DriverRoot
from hami_dra.devices.generic import GenericBackend
from hami_dra.devices.host import Host
from hami_dra.devices.profile_file import load

TREES = Path(__file__).parents[1] / "trees"
PROFILES = Path(__file__).parents[2] / "src/hami_dra/devices/profiles"

# 8 Ascend 910B3, 4 MI300X, 8 Trainium devices with 16 cores, 2 A10.
MIXED = TREES / "mixed"
# Two devices of each other family that we ship a profile for.
OTHERS = TREES / "others"

IN_MIXED = ("amd", "ascend", "neuron")


def tree_of(family: str) -> Path:
    """The tree that has devices of FAMILY."""
    return MIXED if family in IN_MIXED else OTHERS


def copy_of(tree: Path, folder: Path) -> Path:
    """A copy that a test may break."""
    target = folder / tree.name
    shutil.copytree(tree, target, symlinks=True)
    return target


def backend(family: str, tree: Path | None = None, *, seen_as: Path = Path("/")) -> GenericBackend:
    """The backend of a shipped profile on a tree. SEEN_AS: where the container runtime sees the tree."""
    root = DriverRoot(tree or tree_of(family), seen_as)
    return GenericBackend(load(PROFILES / f"{family}.yaml"), Host(root, simulated=True, ttl_s=0))

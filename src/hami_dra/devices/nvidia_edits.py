"""Our own CDI edits for NVIDIA cards, for hosts where the NVIDIA toolkit wrote no specification.

Libraries are mounted under the name that programs ask for (the SONAME) in both folders that loaders
search (Debian's and Red Hat's), so that no hook has to run ldconfig in the container.
"""

from __future__ import annotations

import platform
import re
from pathlib import Path

from hami_dra.devices.backend import Edits
from hami_dra.devices.driver_root import DriverRoot
from hami_dra.devices.nvidia_mig import Instance
from hami_dra.model.errors import DriverError

# The compute, utility and video parts of the driver.
LIBRARIES = (
    "libcuda.so.1",
    "libcudadebugger.so.1",
    "libnvcuvid.so.1",
    "libnvidia-cfg.so.1",
    "libnvidia-encode.so.1",
    "libnvidia-ml.so.1",
    "libnvidia-nvvm.so.4",
    "libnvidia-opencl.so.1",
    "libnvidia-opticalflow.so.1",
    "libnvidia-ptxjitcompiler.so.1",
)
LINKED = {"libcuda.so.1": "libcuda.so"}
"""What compilers in the container link with `-lcuda`, as Triton (torch.compile) does while a program runs."""
PROGRAMS = ("nvidia-smi", "nvidia-debugdump")
NEEDED_NODES = ("nvidiactl", "nvidia-uvm")
OTHER_NODES = ("nvidia-uvm-tools", "nvidia-modeset")
ALONE: Edits = {"env": ["NVIDIA_VISIBLE_DEVICES=void"]}
"""Images of CUDA set it to `all`, and NVIDIA's container runtime, as default or by the Pod's wish,
would give them every card of the node. Specifications of older toolkits leave it out."""
READ_ONLY = ["ro", "nosuid", "nodev", "bind"]


def common(root: DriverRoot) -> Edits:
    """Libraries, programs and control nodes. DriverError: see `device`."""
    folders = ("/usr/lib64", f"/usr/lib/{platform.machine()}-linux-gnu")
    mounts = [
        _mount(root, found, f"{folder}/{there}")
        for name in LIBRARIES
        if (found := root.library(name)) is not None
        for folder in folders
        for there in sorted({name, LINKED.get(name, name)})
    ]
    mounts += [
        _mount(root, found, f"/usr/bin/{name}")
        for name in PROGRAMS
        if (found := root.program(name)) is not None
    ]
    nodes = [node for name in NEEDED_NODES for node in _needed(root, name)]
    nodes += [node for name in OTHER_NODES for node in _nodes(root, name)]
    # Triton asks `ldconfig -p`, whose list is older than these mounts, or takes this folder without asking.
    return {
        "deviceNodes": nodes,
        "mounts": mounts,
        "env": [*ALONE["env"], f"TRITON_LIBCUDA_PATH={folders[0]}"],
    }


def device(root: DriverRoot, minor: int, instance: Instance | None = None) -> Edits:
    """The card's own node; for a MIG instance those of its capabilities, which give access to it, as well.

    DriverError when nobody has made the card's: on a host without persistence daemon the first program of the
    driver does, and a container without it would start, and find no card.
    """
    nodes = _needed(root, f"nvidia{minor}")
    if instance is not None:
        gpu = f"gpu{minor}/mig/gi{instance.gpu}"
        nodes += _capability(root, f"{gpu}/access")
        nodes += _capability(root, f"{gpu}/ci{instance.compute}/access")
    return {"deviceNodes": nodes}


def complete(root: DriverRoot, edits: Edits) -> bool:
    """Whether EDITS of an instance have the nodes of both capabilities, where the driver has capabilities."""
    found = [node for node in edits["deviceNodes"] if "/nvidia-caps/" in node["path"]]
    return len(found) == 2 or not any(folder.is_dir() for folder in _capabilities(root))


def _capabilities(root: DriverRoot) -> tuple[Path, ...]:
    return tuple(proc / "driver/nvidia/capabilities" for proc in (root.path / "proc", Path("/proc")))


def _capability(root: DriverRoot, name: str) -> list[Edits]:
    """The node /dev/nvidia-caps/nvidia-cap<n> that the driver's list of capabilities has for NAME."""
    for folder in _capabilities(root):
        path = folder / name
        if path.is_file():
            number = re.search(r"DeviceFileMinor:\s*(\d+)", path.read_text())
            return _nodes(root, f"nvidia-caps/nvidia-cap{number.group(1)}") if number else []
    return []


def _mount(root: DriverRoot, found: Path, target: str) -> Edits:
    return {"hostPath": root.on_host(found), "containerPath": target, "options": READ_ONLY}


def _needed(root: DriverRoot, name: str) -> list[Edits]:
    """As `_nodes`; DriverError when there is none, as far as we see the driver's /dev."""
    found = _nodes(root, name)
    if not found and (root.path / "dev").is_dir():
        raise DriverError(
            f"the host has no /dev/{name}, without which a container finds no card: run"
            " `nvidia-modprobe -c 0 -u` there, or enable nvidia-persistenced"
        )
    return found


def _nodes(root: DriverRoot, name: str) -> list[Edits]:
    """A driver container keeps its own /dev, else it is the host's; empty when there is no such node."""
    path = f"/dev/{name}"
    if (root.path / "dev" / name).exists():
        host = str(root.host / "dev" / name)
        return [{"path": path} if host == path else {"path": path, "hostPath": host}]
    return [{"path": path}] if Path(path).exists() else []

"""What the checks look at on one node: our files, sockets and the container runtime.

`hami node-facts` prints this as JSON. `hami doctor` runs that in each plugin's Pod, and reads the host's own
folders when it is started on a node.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hami_dra import __version__, native_files
from hami_dra.model import names
from hami_dra.model.errors import StateError
from hami_dra.node import checkpoint, limiter_files
from hami_dra.observe import ledgers
from hami_dra.ops import host_facts


@dataclass(frozen=True)
class Places:
    """Where the plugin keeps its things; the same variables as `hami plugin` name them."""

    state: Path = Path("/var/lib/hami")
    cdi: Path = Path("/var/run/cdi")
    plugins: Path = Path("/var/lib/kubelet/plugins")
    registry: Path = Path("/var/lib/kubelet/plugins_registry")
    limiter: Path | None = None

    @property
    def library(self) -> Path:
        """The folder of the limiter."""
        return self.limiter or self.state / "lib"


@dataclass(frozen=True)
class DriverFacts:
    """What the plugin of one family keeps on a node."""

    answering: list[str] = field(default_factory=list)
    """Sockets on which a plugin answers, of `service` and `registration`."""
    silent: list[str] = field(default_factory=list)
    """Sockets that are there and on which nobody answers."""
    checkpoint_problem: str = ""
    set_aside: list[str] = field(default_factory=list)
    """Damaged checkpoints that were moved out of the way."""
    prepared: list[str] = field(default_factory=list)
    """Claim uids in the checkpoint."""
    orphans: list[str] = field(default_factory=list)
    """Share folders and CDI files that no claim of the checkpoint owns."""
    broken_shares: list[str] = field(default_factory=list)
    """Share folders whose limits or ledger cannot be used."""


@dataclass(frozen=True)
class NodeFacts:
    """One node. Texts that say a problem are empty when there is none."""

    node: str
    version: str = __version__
    drivers: dict[str, DriverFacts] = field(default_factory=dict)
    """By DRA driver: a plugin tells of the families that it serves."""
    refused: list[str] = field(default_factory=list)
    """Why profiles of families are not served."""
    limiter_problem: str = ""
    unmappable: str = ""
    """The limiter's folder, if it is on a file system mounted noexec."""
    kernel: str = ""
    cgroup2: bool = True
    mislabelled: bool = False
    """SELinux enforces, and our folder does not have the label that containers may read."""
    profiles: bool | None = None
    """Whether the runtime can load its AppArmor profile, or needs none; None: cannot be seen from here."""
    free_mib: int | None = None
    """Room for our state."""
    runtime: str = ""
    cdi: bool | None = None
    """Whether the container runtime hands out CDI devices; None: cannot be seen from here."""


def gather(
    node: str,
    places: Places,
    *,
    host: bool,
    drivers: Sequence[str] | None = None,
    refused: Sequence[str] = (),
) -> NodeFacts:
    """Read the node's state. HOST: also ask the container runtime, which a Pod cannot see.

    DRIVERS: those to tell of; without, all that left something here. REFUSED: see NodeFacts. StateError when
    we may not look: what is not to be seen would be taken to be missing.
    """
    _refuse_blind(places)
    told = _left_something(places) if drivers is None else drivers
    runtime, cdi = host_facts.runtime_and_cdi() if host else ("", None)
    return NodeFacts(
        node=node,
        drivers={driver: _driver(driver, places) for driver in told},
        refused=list(refused),
        limiter_problem=_limiter(places.library) if names.DRIVER in told else "",
        unmappable="" if limiter_files.executable(places.library) else str(places.library),
        kernel=os.uname().release,
        cgroup2=Path("/sys/fs/cgroup/cgroup.controllers").exists(),
        mislabelled=host_facts.mislabelled(places.state),
        profiles=host_facts.profiles() if host else None,
        free_mib=host_facts.free_mib(places.state),
        runtime=runtime,
        cdi=cdi,
    )


def _refuse_blind(places: Places) -> None:
    for folder in (places.plugins, places.registry, places.cdi, places.state):
        try:
            os.scandir(folder).close()
        except PermissionError as problem:
            raise StateError(
                f"{folder} may not be read by this user: become root to look at the node"
            ) from problem
        except OSError:  # not there: that is told
            continue


def merged(first: NodeFacts, second: NodeFacts) -> NodeFacts:
    """What two plugins tell of one node."""
    return replace(
        first,
        drivers=first.drivers | second.drivers,
        refused=[*first.refused, *second.refused],
        limiter_problem=first.limiter_problem or second.limiter_problem,
        unmappable=first.unmappable or second.unmappable,
    )


def _left_something(places: Places) -> list[str]:
    """The drivers with sockets or state here; the first of all when there is none."""
    folders = [*_list(places.plugins, f"*{names.DOMAIN}"), *_list(places.state / "families", "*")]
    here = {path.name for path in folders}
    if (places.state / "checkpoint.json").exists():
        here.add(names.DRIVER)
    return sorted(here) or [names.DRIVER]


def _driver(driver: str, places: Places) -> DriverFacts:
    answering, silent = _sockets(places, driver)
    state = places.state if driver == names.DRIVER else places.state / "families" / driver
    problem, claims = _checkpoint(state / "checkpoint.json")
    shares = _names(state / "shares")
    cdi_files = [
        path.stem.rpartition("claim_")[2] for path in _list(places.cdi, f"k8s.{driver}-claim_*.yaml")
    ]
    # Shares of families without our limiter have no folder.
    owned = {share.share_id for claim in claims.values() for share in claim.shares}
    orphans = [] if problem else [*sorted(set(shares) - owned), *sorted(set(cdi_files) - claims.keys())]
    return DriverFacts(
        answering=answering,
        silent=silent,
        checkpoint_problem=problem,
        set_aside=[path.name for path in _list(state, "checkpoint.json.damaged-*")],
        prepared=sorted(claims),
        orphans=orphans,
        broken_shares=[share for share in shares if share in owned and _broken(state / "shares" / share)],
    )


def _sockets(places: Places, driver: str) -> tuple[list[str], list[str]]:
    """A rolling update leaves two of each for a while, a killed plugin a silent one: one is enough."""
    answering, silent = [], []
    for role, found in (
        ("service", _list(places.plugins / driver, "dra*.sock")),
        ("registration", _list(places.registry, f"{driver}*reg.sock")),
    ):
        if any(_answers(path) for path in found):
            answering.append(role)
        elif found:
            silent.append(role)
    return answering, silent


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2.0)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _limiter(folder: Path) -> str:
    """A library's name ends in the hash of its content (docs/interfaces.md)."""
    libraries = _list(folder, "libvgpu.so.*")
    if not libraries:
        return f"there is no {folder}/libvgpu.so.*"
    for path in libraries:
        if path.name.rpartition(".")[2] != _hash(path):
            return f"{path} is not what its name says"
    try:
        shipped = _hash(native_files.find("libvgpu.so"))
    except StateError:
        return ""
    if f"libvgpu.so.{shipped}" not in {path.name for path in libraries}:
        return f"{libraries[-1].name} is not the one of version {__version__} (libvgpu.so.{shipped})"
    preload = folder / "ld.so.preload"
    if not preload.is_file() or preload.read_text().strip() != limiter_files.IN_CONTAINER:
        return f"{preload} does not name {limiter_files.IN_CONTAINER}"
    return ""


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def _checkpoint(path: Path) -> tuple[str, checkpoint.Claims]:
    try:
        return "", checkpoint.Checkpoint(path).load()
    except (StateError, OSError) as problem:
        return str(problem), {}


def _broken(folder: Path) -> bool:
    try:
        limits = dict(line.split("=", 1) for line in (folder / "limits").read_text().splitlines())
        ledgers.read(folder / "ledger")
    except (OSError, ValueError):
        return True
    return not limits.keys() >= {"version", "share", "device", "memory"}


def _list(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _names(folder: Path) -> Iterable[str]:
    return [path.name for path in _list(folder, "*")]

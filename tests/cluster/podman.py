"""podman with a configuration of its own, so that it also works where the host is itself confined."""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from pathlib import Path

from . import versions
from .progress import StepFailed, run

# podman lowers its own limit to this, and cannot set a container's higher than its own.
MOST_PROCESSES = 32768


def environment() -> dict[str, str]:
    """The environment in which podman and kind are run."""
    config = versions.CACHE / "containers.conf"
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        "[containers]\n"
        f'default_ulimits = ["nofile={files}:{files}", "nproc={MOST_PROCESSES}:{MOST_PROCESSES}"]\n'
        "[engine]\n"
        'cgroup_manager = "cgroupfs"\n'
        'runtime = "runc"\n'
        'events_logger = "file"\n'
        "[network]\n"
        'network_backend = "netavark"\n'
    )
    return dict(os.environ) | {
        "CONTAINERS_CONF": str(config),
        "KIND_EXPERIMENTAL_PROVIDER": "podman",
    }


def podman(*arguments: str | Path, stdin: bytes | None = None, limit_s: float | None = None) -> str:
    """Run one podman command and return what it prints."""
    return run(["podman", *arguments], env=environment(), stdin=stdin, limit_s=limit_s)


def remove(container: str) -> None:
    """Remove CONTAINER by force, whatever state its processes and podman's records of them are in."""
    command = ("rm", "--force", "--volumes", "--time", "0", container)
    try:
        podman(*command, limit_s=60)
    except StepFailed:
        # The first try may only find out that the processes are gone, and write that down.
        podman(*command, limit_s=60)


def image_exists(tag: str) -> bool:
    """Whether podman's store has TAG."""
    wanted = tag if "/" in tag else f"localhost/{tag}"
    listed = podman("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    return wanted in listed


def import_image(tar: Path, tag: str, changes: Sequence[str] = ()) -> None:
    """Make TAG from a root file system."""
    options = [part for change in changes for part in ("--change", change)]
    podman("import", *options, tar, tag)

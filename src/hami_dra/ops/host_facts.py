"""What one host says of itself: its container runtime, what guards it, and its room."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from hami_dra.node import selinux

_SWITCH = re.compile(
    r"^\s*(?:enable_cdi|enableCDI)\"?\s*[=:]\s*\"?(true|false)", re.MULTILINE | re.IGNORECASE
)

_FOLDERS = re.compile(r"^\s*cdi_spec_dirs\s*=\s*\[([^]]*)\]", re.MULTILINE)
_OURS = re.compile(r"""["'](?:/var)?/run/cdi/?["']""")
"""Where the plugin writes, as a list of folders may name it."""


def cdi_switch(configuration: str) -> bool | None:
    """What containerd's configuration says of CDI; None: nothing, so its version decides."""
    folders = _FOLDERS.search(configuration)
    if folders and not _OURS.search(folders[1]):
        return False
    found = _SWITCH.findall(configuration)
    return found[-1].lower() == "true" if found else None


def cdi_by_version(runtime: str) -> bool | None:
    """True when a runtime (`containerd://2.1.4`) hands out CDI devices by itself; None: look there."""
    name, _, version = runtime.partition("://")
    if name == "cri-o":
        return True
    major = version.partition(".")[0]
    return True if name == "containerd" and major.isdigit() and int(major) >= 2 else None


def mislabelled(folder: Path) -> bool:
    """Whether SELinux enforces, and FOLDER does not have the label that containers may read."""
    return selinux.closed(folder) and _selinux_enforces()


def _selinux_enforces() -> bool:
    """A container sees the host's file if it sees the host's processes. Where it does not: yes."""
    for root in ("/", "/proc/1/root"):
        try:
            return Path(root, "sys/fs/selinux/enforce").read_text().strip() == "1"
        except OSError:
            continue
    return True


def profiles() -> bool:
    """Whether the runtime can load its AppArmor profile, or needs none."""
    try:
        enabled = Path("/sys/module/apparmor/parameters/enabled").read_text().strip() == "Y"
    except OSError:
        return True
    parser = shutil.which("apparmor_parser", path=f"{os.defpath}:/sbin:/usr/sbin")
    return not enabled or parser is not None


def free_mib(folder: Path) -> int | None:
    """Room on the file system of FOLDER."""
    try:
        room = os.statvfs(folder)
    except OSError:
        return None
    return room.f_bavail * room.f_frsize // 1024**2


def runtime_and_cdi() -> tuple[str, bool | None]:
    """Name, version and CDI of the runtime on this host: its own word first, then its configuration."""
    if not shutil.which("containerd"):
        return ("cri-o", True) if shutil.which("crio") else ("", None)
    said = _ask("containerd", "--version").split()
    runtime = f"containerd://{said[2].lstrip('v')}" if len(said) > 2 else "containerd"
    switch = cdi_switch(_ask("containerd", "config", "dump"))
    return runtime, bool(cdi_by_version(runtime)) if switch is None else switch


def _ask(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""

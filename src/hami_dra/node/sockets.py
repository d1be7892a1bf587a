"""Where the plugin's two unix sockets are (kubelet >= 1.33 allows a Pod uid in both names)."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from dataclasses import dataclass
from pathlib import Path

# sockaddr_un.sun_path is 108 bytes with its final NUL; the kernel counts bytes, not characters.
MOST_BYTES = 107


@dataclass(frozen=True)
class Sockets:
    """`service` answers prepare and unprepare, `registration` is what kubelet's plugin manager finds."""

    driver: str
    service: Path
    registration: Path


def paths(driver: str, plugins: Path, registry: Path, pod_uid: str = "") -> Sockets:
    """With POD_UID two plugins can serve at once during a rolling update. Too long: a hash stands for it."""
    folder = plugins / driver
    if not pod_uid:
        return Sockets(driver, folder / "dra.sock", registry / f"{driver}-reg.sock")
    service, registration = folder / f"dra-{pod_uid}.sock", registry / f"{driver}-{pod_uid}-reg.sock"
    if len(os.fsencode(registration)) > MOST_BYTES:
        registration = registry / f"{driver}-{_hash(pod_uid, 8)}-reg.sock"
    if len(os.fsencode(service)) > MOST_BYTES:
        service = folder / f"dra-{_hash(pod_uid, 16)}.sock"
    return Sockets(driver, service, registration)


def remove_dead(own: Sockets) -> list[Path]:
    """Remove sockets of plugins of ours that were killed: kubelet would dial them for ever."""
    candidates = [
        *own.registration.parent.glob(f"{own.driver}-*reg.sock"),
        *own.service.parent.glob("dra*.sock"),
    ]
    dead = [path for path in candidates if path not in (own.service, own.registration) and not answers(path)]
    for path in dead:
        path.unlink(missing_ok=True)
    return dead


def answers(path: Path) -> bool:
    """Whether somebody listens on the socket at PATH."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            pass  # busy, or not ours to judge
        return True


def _hash(text: str, size: int) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:size]).decode().rstrip("=")

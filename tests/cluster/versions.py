"""Every version that the test cluster is made of, and where its cache lives."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hami-dra"


@dataclass(frozen=True)
class Kubernetes:
    """A Kubernetes release and the image tags that its kubeadm asks for."""

    version: str
    etcd_tag: str
    coredns_tag: str
    pause_tag: str

    @property
    def minor(self) -> str:
        return ".".join(self.version.split(".")[:2])


KUBERNETES = {
    "1.34": Kubernetes("1.34.4", etcd_tag="3.6.5-0", coredns_tag="v1.12.1", pause_tag="3.10.1"),
    "1.35": Kubernetes("1.35.4", etcd_tag="3.6.6-0", coredns_tag="v1.13.1", pause_tag="3.10.1"),
    "1.36": Kubernetes("1.36.3", etcd_tag="3.6.8-0", coredns_tag="v1.14.2", pause_tag="3.10.2"),
    "1.37": Kubernetes("1.37.2", etcd_tag="3.7.0-0", coredns_tag="v1.14.6", pause_tag="3.10.2"),
}
OLDEST_KUBERNETES = "1.34"
"""Its feature gates are off by default."""
DEFAULT_KUBERNETES = os.environ.get("HAMI_KUBERNETES") or "1.36"
if DEFAULT_KUBERNETES not in KUBERNETES:
    raise SystemExit(f"HAMI_KUBERNETES={DEFAULT_KUBERNETES}: there are {', '.join(KUBERNETES)}")

ETCD = "3.6.8"
COREDNS = "1.14.2"
HELM = "3.22.0"
EXAMPLE_DRIVER = "0.4.0"
"""Kubernetes' own example of a DRA driver: a peer in conformance and benchmarks, no part of the cluster."""

DEBIAN_SUITE = "bookworm"
"""Suite of the node's root file system: the newest whose systemd still boots on cgroup v1."""

TOOLS_SUITE = "sid"
"""Suite from which containerd, the CNI plugins, kubectl and kind are unpacked (never installed)."""

GO = "1.26.0"
"""Oldest Go that builds all of these."""

GO_SUITE, GO_IN_SUITE = "trixie", "1.24"
"""Suite and version of the Go that is unpacked where the machine has none; it fetches GO by itself."""


def digest(*parts: str | Path) -> str:
    """Short hash of texts and of the contents of files and folders: the key of a cached build."""
    sha = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            files = sorted(part.rglob("*")) if part.is_dir() else [part]
            for file in files:
                if file.is_file() and "__pycache__" not in file.parts:
                    sha.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
        else:
            sha.update(part.encode() + b"\0")
    return sha.hexdigest()[:12]

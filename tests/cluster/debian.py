"""Debian packages: installed on this machine, unpacked from a newer suite, or made into root file systems.

The machine's own apt sources stay as they are. A suite that the machine does not list is read through
an apt configuration of its own, at the address that the machine already uses for Debian.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from . import versions
from .progress import StepFailed, run, step

HOST_PACKAGES = (
    "podman",
    "runc",  # crun refuses hybrid cgroup hierarchies
    "netavark",
    "aardvark-dns",
    "iptables",
    "nftables",
    "mmdebstrap",
    "gcc",
    "libc6-dev",
    "git",
)


def install(packages: tuple[str, ...] = HOST_PACKAGES) -> None:
    """Install what is missing of PACKAGES on this machine."""
    missing = [name for name in packages if not _installed(name)]
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise StepFailed(f"apt-get is not here; install these programs by hand: {' '.join(missing)}")
    if os.geteuid() != 0:
        raise StepFailed(f"not root, so cannot install: {' '.join(missing)}; run this as root")
    with step(f"install {' '.join(missing)}", "20 s"):
        run(["apt-get", "update", "-qq"])
        run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing],
            env=dict(os.environ) | {"DEBIAN_FRONTEND": "noninteractive"},
        )


def _installed(name: str) -> bool:
    try:
        status = run(["dpkg-query", "-W", "-f", "${db:Status-Status}", name])
    except (StepFailed, FileNotFoundError):
        return False
    return status == "installed"


def archive() -> str:
    """Address of the Debian archive that this machine's apt is configured with; it has every suite."""
    targets = ["apt-get", "indextargets", "--format", "$(LABEL) $(SITE)", "Created-By: Packages"]
    for line in run(targets).splitlines():
        label, _, site = line.partition(" ")
        if label == "Debian":
            return site
    raise StepFailed("apt lists no source of Debian; add one, run `apt-get update` and try again")


def unpack(packages: tuple[str, ...], suite: str, into: Path) -> None:
    """Download PACKAGES of SUITE and unpack their files below INTO; nothing is installed."""
    scratch = into.with_name(into.name + ".apt")
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "lists").mkdir(parents=True)
    (scratch / "cache").mkdir()
    (scratch / "sources.list").write_text(f"{_source(suite)}\n")
    (scratch / "status").touch()
    options = [
        f"Dir::Etc::sourcelist={scratch}/sources.list",
        "Dir::Etc::sourceparts=/dev/null",
        f"Dir::State::lists={scratch}/lists",
        # As if nothing were installed: a newer version on this machine must not hide the suite's.
        f"Dir::State::status={scratch}/status",
        f"Dir::Cache={scratch}/cache",
        "APT::Sandbox::User=root",
        "Acquire::Languages=none",
    ]
    apt = ["apt-get", *(part for option in options for part in ("-o", option))]
    run([*apt, "-qq", "update"])
    run([*apt, "-qq", "download", *packages], cwd=scratch)
    for deb in sorted(scratch.glob("*.deb")):
        run(["dpkg-deb", "-x", deb, into])
    shutil.rmtree(scratch)


def root_file_system(name: str, packages: tuple[str, ...], variant: str = "minbase") -> Path:
    """Return a tar of a fresh Debian with PACKAGES, made when the cache has none."""
    key = versions.digest("rootfs", variant, *packages)
    tar = versions.CACHE / "rootfs" / f"{name}-{versions.DEBIAN_SUITE}-{key}.tar"
    if tar.is_file():
        return tar
    tar.parent.mkdir(parents=True, exist_ok=True)
    partial = tar.with_suffix(".partial.tar")
    # Documentation stays out: images are loaded into every node.
    excludes = [
        f"--dpkgopt=path-exclude={path}"
        for path in ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
    ]
    with step(f"make a Debian root file system for {name}", "1 min") as running:
        run(
            ["mmdebstrap", f"--variant={variant}", f"--include={','.join(packages)}", *excludes]
            + [
                "--aptopt=Acquire::Languages none",
                versions.DEBIAN_SUITE,
                partial,
                _source(versions.DEBIAN_SUITE),
            ],
            on_line=lambda line: running.note(line.strip()[:70]),
        )
    partial.rename(tar)
    return tar


def _source(suite: str) -> str:
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    return f"deb [signed-by={keyring}] {archive()} {suite} main"

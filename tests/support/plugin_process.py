"""`hami plugin` as a process of its own, with cards that need no driver: plugin_process FOLDER [POD_UID]."""

from __future__ import annotations

import sys
from pathlib import Path

from hami_dra import log
from hami_dra.cli.plugin import serve
from hami_dra.kube import Client
from hami_dra.node.plugin import Config, Plugin
from tests.support.cards import A10, NODE, SECOND, CardBackend


def config_in(folder: Path, pod_uid: str = "") -> Config:
    """A plugin all of whose places are below FOLDER."""
    return Config(
        node=NODE,
        pod_uid=pod_uid,
        state=folder / "state",
        limiter=folder / "libvgpu.so",
        limiter_folder=folder / "state/lib",
        cdi=folder / "cdi",
        plugins=folder / "plugins",
        registry=folder / "registry",
    )


def main(folder: Path, pod_uid: str = "") -> None:
    log.configure("info", "json")
    kube = Client.from_environment(str(folder / "kubeconfig"))
    serve(Plugin(config_in(folder, pod_uid), kube, CardBackend(A10, SECOND, cdi=[folder / "etc-cdi"])))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

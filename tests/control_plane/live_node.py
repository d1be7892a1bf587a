"""A node that is an object, with kubelet's DRA manager and `hami plugin` behind it (NVML is simulated)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hami_dra.kube import kinds
from tests.cluster.versions import DEFAULT_KUBERNETES
from tests.control_plane.cards import publish
from tests.support.control_plane import SINCE_1_35
from tests.support.real_kubelet import RealKubelet

OF_OUR_KUBELET = pytest.mark.parametrize(
    "plane", [minor for minor in SINCE_1_35 if minor == DEFAULT_KUBERNETES], indirect=True
)
"""Of the release that kubelet's DRA manager is built from, where what such a node shows is there."""


class LiveNode:
    """Everything of it is below FOLDER; Pods and claims are those of SPACE."""

    def __init__(self, folder, space, node):
        self.folder, self.space = folder, space
        self.kubelet = RealKubelet(folder, node)

    def prepare(self, name):
        """The CDI names that the container of Pod NAME would get."""
        return self.kubelet.does("prepare", name, self.space.name)

    def device_nodes(self, name):
        """Paths behind the CDI name of claim NAME."""
        uid = self.space.client.get(kinds.RESOURCE_CLAIMS, name, self.space.name)["metadata"]["uid"]
        (path,) = (self.folder / "cdi").glob(f"*{uid}*")
        (device,) = json.loads(path.read_text())["devices"]
        return [node["path"] for node in device["containerEdits"]["deviceNodes"]]

    def end(self, name):
        """As kubelet ends a Pod: its claim is given back first."""
        self.kubelet.does("unprepare", name, self.space.name)
        self.space.delete_pod(name)


@contextlib.contextmanager
def running(space, node, make, *options):
    """Node NODE while its plugin runs with OPTIONS. MAKE: the simulated host in a folder -> its variables."""
    client = space.client
    publish(client, node, [])
    with tempfile.TemporaryDirectory(prefix="hami", dir="/tmp") as name:  # names of sockets are short
        folder = Path(name)
        variables = make(folder)
        shutil.copy(space.plane.kubeconfig, folder / "kubeconfig")
        with plugin(folder, node, variables, options):
            found = LiveNode(folder, space, node)
            try:
                yield found
            finally:
                found.kubelet.close()
                for item in client.list(kinds.RESOURCE_SLICES, fields=f"spec.nodeName={node}")[0]:
                    client.delete(kinds.RESOURCE_SLICES, item["metadata"]["name"])
                client.delete(kinds.NODES, node)


@contextlib.contextmanager
def plugin(folder, node, variables, options):
    places = {
        "--node-name": node,
        "--driver-root": folder / "root",
        "--state-dir": folder / "state",
        "--cdi-dir": folder / "cdi",
        "--cdi-static-dir": folder / "no-toolkit",
        "--plugins-dir": folder / "plugins",
        "--registry-dir": folder / "registry",
        "--limiter": folder / "libvgpu.so",
        "--kubeconfig": folder / "kubeconfig",
        "--health-port": 0,
        "--metrics-port": 0,
    }
    listed = [str(part) for option in places.items() for part in option]
    command = [sys.executable, "-m", "hami_dra.cli.main", "plugin", *listed, *options]
    with (folder / "plugin.log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | variables, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait()

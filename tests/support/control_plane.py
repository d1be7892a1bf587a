"""A real control plane without nodes: etcd, API server, controller manager and scheduler as processes.

It starts in seconds, so that what the API server, the allocator and the controllers say of claims can be
asked often; kubelets and containers are the business of the kind cluster. Nodes and slices are the tests'.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import config as official_config

from hami_dra.admission import authority
from hami_dra.kube import Client
from hami_dra.kube.transport import JSON, Transport
from hami_dra.model import errors
from tests.cluster import go_programs, versions
from tests.support.ports import free_port
from tests.support.waiting import until

Object = dict[str, Any]

PATIENCE_S = 30.0
"""For one request: the machine may have much else to do."""

CONTROLLERS = (
    *("deployment-controller", "replicaset-controller", "statefulset-controller", "daemonset-controller"),
    *("job-controller", "cronjob-controller", "garbage-collector-controller", "namespace-controller"),
    *("resourceclaim-controller", "resourcequota-controller", "serviceaccount-controller"),
)


@dataclass(frozen=True)
class ControlPlane:
    """A running control plane; `kubeconfig` is its administrator's."""

    release: versions.Kubernetes
    kubeconfig: Path
    client: Client
    transport: Transport

    def kubeconfig_of(self, namespace: str, account: str) -> Path:
        """A kubeconfig of a ServiceAccount's, beside the administrator's."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        token = self.ask("POST", path, body)["status"]["token"]
        made = yaml.safe_load(self.kubeconfig.read_text())
        made["users"][0]["user"] = {"token": token}
        found = self.kubeconfig.with_name(f"{account}.kubeconfig")
        found.write_text(yaml.safe_dump(made))
        return found

    def ask(
        self,
        method: str,
        path: str,
        body: Object | None = None,
        *,
        query: dict[str, str] | None = None,
        content_type: str = JSON,
    ) -> Object:
        """One request of the administrator's, and no second one when it fails; errors.KubeError."""
        text = None if body is None else json.dumps(body)
        answer = self.transport.ask(
            method, path, PATIENCE_S, body=text, query=query, content_type=content_type
        )
        found: Object = json.loads(answer)
        return found


def _releases() -> list[str]:
    """The one that HAMI_KUBERNETES names; or else the default, and the oldest where it has been compiled."""
    oldest = versions.KUBERNETES[versions.OLDEST_KUBERNETES]
    if os.environ.get("HAMI_KUBERNETES") or not (go_programs.kubernetes(oldest).folder / "bin").is_dir():
        return [versions.DEFAULT_KUBERNETES]
    return [oldest.minor, versions.DEFAULT_KUBERNETES]


RELEASES = _releases()
SINCE_1_35 = [minor for minor in RELEASES if minor >= "1.35"]
"""Those that know shared counters, and try the devices of a slice in the order given."""


@contextlib.contextmanager
def api_server(
    folder: Path, minor: str = versions.DEFAULT_KUBERNETES, flags: Sequence[str] = ()
) -> Iterator[ControlPlane]:
    """etcd and kube-apiserver alone, with more FLAGS, below FOLDER until the block ends."""
    release = versions.KUBERNETES[minor]
    port = free_port()
    etcd = f"unix://{folder}/etcd.sock"  # it would not tell which port it has chosen
    bundle = authority.renew(None, ["localhost"], datetime.datetime.now(datetime.UTC))
    for name, data in (
        ("ca.crt", bundle.ca.certificate),
        ("tls.crt", bundle.serving.certificate),
        ("tls.key", bundle.serving.key),
    ):
        (folder / name).write_bytes(data)
    (folder / "tokens").write_text("admin-token,admin,admin,system:masters\n")
    kubeconfig = folder / "admin.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(_kubeconfig(port, folder / "ca.crt")))
    with (
        _process(
            folder,
            *(go_programs.build(go_programs.ETCD) / "etcd", "--data-dir", folder / "etcd"),
            *("--unsafe-no-fsync", "--log-level", "error"),
            *("--listen-client-urls", etcd, "--advertise-client-urls", "http://localhost:1"),
            *("--listen-peer-urls", "http://127.0.0.1:0"),
        ),
        _process(
            folder,
            *(_program(release, "kube-apiserver"), _gates(release), "--etcd-servers", etcd),
            *("--secure-port", port, "--bind-address", "127.0.0.1", "--cert-dir", folder / "apiserver"),
            *("--tls-cert-file", folder / "tls.crt", "--tls-private-key-file", folder / "tls.key"),
            *("--token-auth-file", folder / "tokens", "--authorization-mode", "RBAC"),
            *("--service-cluster-ip-range", "10.96.0.0/16", "--service-account-issuer", "https://localhost"),
            *("--service-account-key-file", folder / "tls.crt"),
            *("--service-account-signing-key-file", folder / "tls.key"),
            *("--disable-admission-plugins=ServiceAccount", "--allow-privileged"),
            # Some clusters have them. Who sets blockOwnerDeletion needs a right on the owner; a Pod tolerates
            # the taint that is called as an extended resource that it asks for.
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement,ExtendedResourceToleration",
            *flags,
        ),
    ):
        client = Client.from_environment(str(kubeconfig))
        _await_ready(client)
        transport = Transport(official_config.new_client_from_config(str(kubeconfig)))
        yield ControlPlane(release, kubeconfig, client, transport)


@contextlib.contextmanager
def running(
    folder: Path, minor: str = versions.DEFAULT_KUBERNETES, flags: Sequence[str] = ()
) -> Iterator[ControlPlane]:
    """`api_server` with controller manager and scheduler; all end with the block, newest first."""
    with api_server(folder, minor, flags) as plane:
        common = (
            _gates(plane.release),
            "--kubeconfig",
            plane.kubeconfig,
            "--leader-elect=false",
            "--secure-port",
            "0",
        )
        with (
            _process(
                folder,
                *(_program(plane.release, "kube-controller-manager"), *common),
                *("--use-service-account-credentials", f"--controllers={','.join(CONTROLLERS)}"),
                *("--service-account-private-key-file", folder / "tls.key"),
            ),
            _process(folder, _program(plane.release, "kube-scheduler"), *common),
        ):
            yield plane


def _gates(release: versions.Kubernetes) -> str:
    """What the product needs, and what its options need where that is not on by default yet."""
    options = ",DRAPartitionableDevices=true" if release.minor < "1.36" else ""
    return f"--feature-gates=DRAConsumableCapacity=true{options}"


def _program(release: versions.Kubernetes, name: str) -> Path:
    return go_programs.build(go_programs.kubernetes(release)) / name


@contextlib.contextmanager
def _process(folder: Path, program: Path, *options: object) -> Iterator[None]:
    with (folder / f"{program.name}.log").open("wb") as log:
        process = subprocess.Popen([program, *map(str, options)], stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_ready(client: Client) -> None:
    def ready() -> str:
        try:
            return client.raw("/readyz")
        except errors.KubeError:
            return ""

    until(ready, "the API server")


def _kubeconfig(port: int, ca: Path) -> Object:
    server = {"server": f"https://localhost:{port}", "certificate-authority": str(ca)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": server}],
        "users": [{"name": "admin", "user": {"token": "admin-token"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}],
        "current-context": "here",
    }

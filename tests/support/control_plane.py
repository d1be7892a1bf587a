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
import time
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
from tests.support.webhook_process import free_port

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


@contextlib.contextmanager
def running(
    folder: Path, minor: str = versions.DEFAULT_KUBERNETES, flags: Sequence[str] = ()
) -> Iterator[ControlPlane]:
    """Start everything below FOLDER, kube-apiserver with more FLAGS; it ends with the block, newest first."""
    release = versions.KUBERNETES[minor]
    binaries = go_programs.build(go_programs.kubernetes(release))
    etcd = go_programs.build(go_programs.ETCD) / "etcd"
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
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
    gates = "--feature-gates=DRAConsumableCapacity=true"
    with contextlib.ExitStack() as stack:

        def start(*command: object) -> None:
            stack.enter_context(_process(folder, [str(part) for part in command]))

        start(
            *(etcd, "--data-dir", folder / "etcd", "--unsafe-no-fsync", "--log-level", "error"),
            *("--listen-client-urls", f"http://127.0.0.1:{etcd_port}"),
            *("--advertise-client-urls", f"http://127.0.0.1:{etcd_port}"),
            *("--listen-peer-urls", f"http://127.0.0.1:{peer_port}"),
            *("--initial-advertise-peer-urls", f"http://127.0.0.1:{peer_port}"),
            *("--initial-cluster", f"default=http://127.0.0.1:{peer_port}"),
        )
        start(
            *(binaries / "kube-apiserver", gates, "--etcd-servers", f"http://127.0.0.1:{etcd_port}"),
            *("--secure-port", port, "--bind-address", "127.0.0.1", "--cert-dir", folder / "apiserver"),
            *("--tls-cert-file", folder / "tls.crt", "--tls-private-key-file", folder / "tls.key"),
            *("--token-auth-file", folder / "tokens", "--authorization-mode", "RBAC"),
            *("--service-cluster-ip-range", "10.96.0.0/16", "--service-account-issuer", "https://localhost"),
            *("--service-account-key-file", folder / "tls.crt"),
            *("--service-account-signing-key-file", folder / "tls.key"),
            *("--disable-admission-plugins=ServiceAccount", "--allow-privileged"),
            # Some clusters have it: who sets blockOwnerDeletion needs a right on the owner.
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
            *flags,
        )
        client = Client.from_environment(str(kubeconfig))
        _await_ready(client)
        start(
            *(
                binaries / "kube-controller-manager",
                gates,
                "--kubeconfig",
                kubeconfig,
                "--leader-elect=false",
            ),
            *("--secure-port", "0", "--use-service-account-credentials"),
            *("--service-account-private-key-file", folder / "tls.key"),
            f"--controllers={','.join(CONTROLLERS)}",
        )
        start(
            *(binaries / "kube-scheduler", gates, "--kubeconfig", kubeconfig),
            *("--leader-elect=false", "--secure-port", "0"),
        )
        transport = Transport(official_config.new_client_from_config(str(kubeconfig)))
        yield ControlPlane(release, kubeconfig, client, transport)


@contextlib.contextmanager
def _process(folder: Path, command: Sequence[str]) -> Iterator[None]:
    with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
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
    deadline = time.monotonic() + 90
    while True:
        try:
            client.raw("/readyz")
            return
        except errors.KubeError:
            assert time.monotonic() < deadline, "the API server does not come up"
            time.sleep(0.2)


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

"""A real kube-apiserver over a real etcd on the loopback: the programs of the test cluster, without one.

There for drivers under test, which need an API server that speaks every encoding, for times that include a
real API server, and for what only a real one decides: validation, defaults, permissions, policies.
"""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hami_dra.kube import NODES, Client
from hami_dra.model import errors
from tests.cluster import go_programs, versions

STARTS_WITHIN_S = 60.0


@contextmanager
def serving(folder: Path, node: str, authorization: str = "AlwaysAllow") -> Iterator[tuple[Client, Path]]:
    """Start both in FOLDER and create the Node NODE; yields a client and a kubeconfig of an administrator."""
    release = versions.KUBERNETES[versions.DEFAULT_KUBERNETES]
    etcd, peer, port = _free_port(), _free_port(), _free_port()
    token = secrets.token_hex(16)
    (folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
    _write_key(folder / "sa.key")
    with ExitStack() as stack:
        command = [
            f"--data-dir={folder}/etcd",
            f"--listen-client-urls=http://127.0.0.1:{etcd}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
        ]
        _start(stack, folder, go_programs.build(go_programs.ETCD) / "etcd", command)
        command = [
            f"--etcd-servers=http://127.0.0.1:{etcd}",
            f"--secure-port={port}",
            "--bind-address=127.0.0.1",
            f"--cert-dir={folder}/certs",
            f"--token-auth-file={folder}/tokens.csv",
            f"--authorization-mode={authorization}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={folder}/sa.key",
            f"--service-account-signing-key-file={folder}/sa.key",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--disable-admission-plugins=ServiceAccount",
        ]
        program = go_programs.build(go_programs.kubernetes(release)) / "kube-apiserver"
        _start(stack, folder, program, command)
        path = folder / "kubeconfig"
        certificate = folder / "certs" / "apiserver.crt"
        _wait(certificate.is_file)
        path.write_text(yaml.safe_dump(_kubeconfig(port, token, certificate)))
        client = Client.from_environment(str(path))
        _wait(lambda: _ready(client))
        client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
        yield client, path


def _start(stack: ExitStack, folder: Path, program: Path, options: list[str]) -> None:
    log = stack.enter_context((folder / f"{program.name}.log").open("wb"))
    process = subprocess.Popen([program, *options], stdout=log, stderr=log, cwd=folder)
    stack.callback(process.wait)
    stack.callback(process.kill)


def _ready(client: Client) -> bool:
    try:
        return client.raw("/readyz") == "ok" and bool(client.raw("/api/v1/namespaces/default"))
    except errors.KubeError:
        return False


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + STARTS_WITHIN_S
    while not condition():
        assert time.monotonic() < end, "kube-apiserver did not start, see its log"
        time.sleep(0.2)


def _write_key(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _kubeconfig(port: int, token: str, certificate: Path) -> dict[str, object]:
    server = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(certificate)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "own", "cluster": server}],
        "users": [{"name": "own", "user": {"token": token}}],
        "contexts": [{"name": "own", "context": {"cluster": "own", "user": "own"}}],
        "current-context": "own",
    }

"""`hami webhook` as a process of its own, with a certificate made here."""

from __future__ import annotations

import base64
import datetime
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hami_dra.admission import authority
from tests.support.ports import free_port
from tests.support.waiting import until


@dataclass(frozen=True)
class Webhook:
    """A running webhook. `certificates` is the folder that it serves from; `bundle` made what is in it."""

    port: int
    health_port: int
    pid: int
    folder: Path
    bundle: authority.Bundle

    @property
    def certificates(self) -> Path:
        return self.folder / "certs"

    def client_config(self, path: str) -> dict[str, str]:
        """`clientConfig` of a registration that calls this process."""
        ca = base64.b64encode(self.bundle.ca.certificate).decode()
        return {"url": f"https://localhost:{self.port}{path}", "caBundle": ca}

    def context(self) -> ssl.SSLContext:
        """Trusts the webhook's CA and nothing else."""
        return ssl.create_default_context(cafile=str(self.folder / "ca.crt"))

    def resident_mib(self) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no VmRSS")


HAMI = ("-m", "hami_dra.cli.main")


@contextmanager
def running(
    folder: Path,
    kubeconfig: Path,
    *arguments: str,
    prefix: Sequence[str] = (),
    program: Sequence[str] = HAMI,
) -> Iterator[Webhook]:
    """Serve until the block ends. PREFIX goes before the command, for example `taskset -c 0`; PROGRAM is what
    Python runs. ARGUMENTS take the place of what is given here."""
    bundle = authority.renew(None, ["localhost"], datetime.datetime.now(datetime.UTC))
    write(bundle.serving, folder / "certs")
    (folder / "ca.crt").write_bytes(bundle.ca.certificate)
    port, health_port = free_port(), free_port()
    command = [
        *prefix,
        *(sys.executable, *program, "webhook"),
        *("--port", str(port), "--health-port", str(health_port)),
        *("--cert-mode", "files", "--cert-dir", str(folder / "certs")),
        *("--kubeconfig", str(kubeconfig), *arguments),
    ]
    with (folder / "webhook.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _await_ready(process, health_port, folder / "webhook.log")
            yield Webhook(port, health_port, process.pid, folder, bundle)
        finally:
            process.terminate()
            process.wait(20)


def write(pair: authority.Pair, folder: Path) -> None:
    """As a mounted Secret: both files, each replaced whole."""
    folder.mkdir(exist_ok=True)
    for name, data in (("tls.key", pair.key), ("tls.crt", pair.certificate)):
        (folder / f".{name}").write_bytes(data)
        (folder / f".{name}").rename(folder / name)


def _await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10):
            return True
        return False

    until(ready, lambda: f"the webhook to be ready: {log.read_text()}")

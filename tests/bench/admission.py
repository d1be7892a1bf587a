"""Admission, measured: reviews over TLS on one core, and the time from a Pod to its claim and to its start.

    python -m tests.bench.admission            everything that this machine can measure
    python -m tests.bench.admission reviews    only what needs no Kubernetes

The peer of the reviews is the least that Python can do: starlette and uvicorn with a constant patch. The time
to a claim is taken on a real API server with controller manager and scheduler, without nodes; the time to a
running Pod on the demo cluster, beside a plain Pod of the same image, and only while that cluster is up.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from hami_dra.kube import Client, kinds
from hami_dra.kube.cache import Cache, Change
from tests.support import control_plane, kube_server, toy_webhook, webhook_process
from tests.support.fake_kube import FakeKube

Object = dict[str, Any]

CONNECTIONS = 8
SECONDS = 5.0
PACED_PER_S = 1000
PODS_PER_S = 50
PODS = 300
WARM_UP = 50
"""Pods of the first second, in which API server, client and webhook open their connections; told apart."""


def main(arguments: list[str]) -> int:
    reviews()
    if arguments[:1] != ["reviews"]:
        claims()
        running_pods()
    return 0


def row(what: str, value: str, beside: str, goal: str) -> None:
    print(f"{what:<52} {value:<16} {beside:<36} {goal}", flush=True)


# --- Reviews over TLS ------------------------------------------------------------------------------


def reviews() -> None:
    """Server on one core, clients on the others."""
    cores = sorted(os.sched_getaffinity(0))
    server, rest = cores[0], set(cores[1:]) or set(cores)
    pin = ("taskset", "--cpu-list", str(server))
    os.sched_setaffinity(0, rest)
    with tempfile.TemporaryDirectory() as folder:
        ours, peer = Path(folder, "ours"), Path(folder, "peer")
        ours.mkdir()
        peer.mkdir()
        with (
            kube_server.serving(FakeKube(), ours) as kubeconfig,
            webhook_process.running(ours, kubeconfig, "--log-level", "warning", prefix=pin) as webhook,
        ):
            mine = measure(webhook.port, webhook.context())
            resident = webhook.resident_mib()
        with toy_webhook.running(peer, pin) as (port, context):
            theirs = measure(port, context)
    row(
        "admission: reviews per second, one core, TLS",
        f"{mine[0]:.0f}/s",
        ratio(mine[0], theirs[0], "/s"),
        ">= 3000/s",
    )
    row(
        f"admission: p99 at {PACED_PER_S} reviews per second",
        f"{mine[1] * 1000:.2f} ms",
        ratio(mine[1] * 1000, theirs[1] * 1000, " ms"),
        "<= 4 ms",
    )
    row("admission: resident memory after that", f"{resident:.0f} MiB", "", "<= 80 MiB")
    os.sched_setaffinity(0, set(cores))


def ratio(mine: float, theirs: float, unit: str) -> str:
    return f"bare starlette: {theirs:.2f}{unit} ({mine / theirs:.2f}x)"


def measure(port: int, context: ssl.SSLContext) -> tuple[float, float]:
    """(reviews per second as fast as they go, p99 in seconds when they are paced)."""
    fire(port, context, 0.5, None)
    fast = fire(port, context, SECONDS, None)
    paced = fire(port, context, SECONDS, CONNECTIONS / PACED_PER_S)
    return len(fast) / SECONDS, statistics.quantiles(paced, n=100)[98]


def fire(port: int, context: ssl.SSLContext, seconds: float, every_s: float | None) -> list[float]:
    """Latencies of all reviews of CONNECTIONS clients; EVERY_S is the pause between one client's starts."""
    request = review()
    found: list[list[float]] = []

    def client(at: int, latencies: list[float]) -> None:
        with contextlib.closing(context.wrap_socket(connect(port), server_hostname="localhost")) as tls:
            begin = time.perf_counter() + (at * (every_s or 0) / CONNECTIONS)
            due, end = begin, begin + seconds
            while due < end:
                if every_s is None:
                    due = time.perf_counter()
                else:
                    due += every_s
                    time.sleep(max(0.0, due - time.perf_counter()))
                # Paced reviews count from when they were due: a stalled server is not spared its queue.
                tls.sendall(request)
                read_answer(tls)
                latencies.append(time.perf_counter() - due)

    threads = []
    for at in range(CONNECTIONS):
        found.append([])
        threads.append(threading.Thread(target=client, args=[at, found[-1]]))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [latency for latencies in found for latency in latencies]


def connect(port: int) -> socket.socket:
    plain = socket.create_connection(("localhost", port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain


def read_answer(tls: ssl.SSLSocket) -> None:
    data = tls.recv(65536)
    while b"\r\n\r\n" not in data:
        data += tls.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    received = len(body)
    while received < length:
        received += len(tls.recv(65536))


def review() -> bytes:
    """A Pod as workloads look: two containers, some environment, a volume."""
    limits = {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "10240", "nvidia.com/gpucores": "50"}
    env = [{"name": f"VARIABLE_{at}", "value": "value"} for at in range(8)]
    train = {
        "name": "train",
        "image": "train:1",
        "resources": {"limits": limits, "requests": limits},
        "env": env,
    }
    side = {
        "name": "logs",
        "image": "logs:1",
        "resources": {},
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "train-1", "generateName": "train-", "labels": {"app": "train"}},
        "spec": {"containers": [train, side], "volumes": [{"name": "v", "emptyDir": {}}]},
    }
    asked = {"uid": "0123", "kind": {"kind": "Pod"}, "namespace": "ml", "operation": "CREATE", "object": pod}
    body = json.dumps(
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": asked}
    ).encode()
    head = [
        "POST /mutate HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


# --- From a Pod to its claim -----------------------------------------------------------------------


def claims() -> None:
    """On a real API server: PODS Pods at PODS_PER_S, the clock from the create call to the claim's event."""
    from tests.control_plane.cards import CARDS, publish
    from tests.control_plane.conftest import registered

    with tempfile.TemporaryDirectory() as text:
        plane_folder, webhook_folder = Path(text, "plane"), Path(text, "webhook")
        plane_folder.mkdir()
        webhook_folder.mkdir()
        with control_plane.running(plane_folder) as plane:
            for node, cards in CARDS.items():
                publish(plane.client, node, cards)
            with (
                webhook_process.running(
                    webhook_folder, plane.kubeconfig, "--log-level", "warning"
                ) as webhook,
                # A webhook's own service account is not asked about its claims; here it is `admin`.
                registered(plane, webhook, "hami-dra.webhook.config.validation.enabled=false"),
            ):
                waits = created_to_claim(plane.client)
    p50, p99 = (statistics.quantiles(waits[WARM_UP:], n=100)[at] for at in (49, 98))
    row(
        f"admission: Pod created -> claim exists, {PODS_PER_S} Pods/s, p99",
        f"{p99 * 1000:.0f} ms",
        f"p50 {p50 * 1000:.0f} ms; worst of the first second {max(waits[:WARM_UP]) * 1000:.0f} ms",
        "< 100 ms",
    )


def created_to_claim(client: Any) -> list[float]:
    made: dict[str, float] = {}
    started: dict[str, float] = {}

    def seen(change: Change) -> None:
        made.setdefault(change.object["metadata"]["ownerReferences"][0]["name"], time.perf_counter())

    # An API server that has too much to do ends a watch now and then: the cache begins another.
    claims = Cache(client, kinds.RESOURCE_CLAIMS)
    claims.on_change(seen)
    claims.start()
    claims.synced.wait()
    limits = {"limits": {"nvidia.com/gpumem": "16"}}
    due = time.perf_counter()

    def create(name: str) -> None:
        container = {"name": "c", "image": "x", "resources": limits}
        pod = {"metadata": {"name": name}, "spec": {"containers": [container]}}
        started[name] = time.perf_counter()
        client.create(kinds.PODS, pod, "default")

    threads = []
    for at in range(PODS):
        due += 1 / PODS_PER_S
        time.sleep(max(0.0, due - time.perf_counter()))
        threads.append(threading.Thread(target=create, args=[f"pod-{at}"]))
        threads[-1].start()
    for thread in threads:
        thread.join()
    end = time.monotonic() + 30
    while len(made) < PODS and time.monotonic() < end:
        time.sleep(0.05)
    claims.stop()
    assert len(made) == PODS, f"{len(made)} of {PODS} claims"
    return [made[f"pod-{at}"] - started[f"pod-{at}"] for at in range(PODS)]


# --- From a Pod to its start -----------------------------------------------------------------------


def running_pods(rounds: int = 10) -> None:
    """On the demo cluster: a Pod with a share and a plain one of the same image, one after the other."""
    from tests.cluster.cluster import Cluster
    from tests.e2e.kubectl import gpu_limits, pod

    cluster = Cluster()
    what = "admission: Pod with a share, created -> Ready"
    if not cluster.kubeconfig.exists():
        row(what, "-", "needs the demo cluster (make demo)", "<= plain + 150 ms")
        return
    client, namespace = Client.from_environment(str(cluster.kubeconfig)), "bench-admission"
    client.create(kinds.NAMESPACES, {"metadata": {"name": namespace}})
    try:
        pairs = [
            (
                created_to_ready(client, namespace, pod(f"plain-{at}")),
                created_to_ready(client, namespace, pod(f"share-{at}", limits=gpu_limits(1024, 10))),
            )
            for at in range(rounds)
        ]
    finally:
        client.delete(kinds.NAMESPACES, namespace)
    plain, share = (statistics.median(column) for column in zip(*pairs, strict=True))
    row(
        what,
        f"{share * 1000:.0f} ms",
        f"plain Pod: {plain * 1000:.0f} ms ({(share - plain) * 1000:+.0f} ms)",
        "<= plain + 150 ms",
    )


def created_to_ready(client: Client, namespace: str, body: Object) -> float:
    """Seconds until the API tells that the Pod is Ready; the Pod is gone again when this returns."""
    name = body["metadata"]["name"]
    _, version = client.list(kinds.PODS, namespace)
    begin = time.perf_counter()
    client.create(kinds.PODS, body, namespace)
    taken = 0.0
    for event in client.watch(kinds.PODS, version, namespace, fields=f"metadata.name={name}", timeout_s=120):
        if event.type == "DELETED":
            return taken
        conditions = (event.object.get("status") or {}).get("conditions") or []
        if not taken and any((one["type"], one["status"]) == ("Ready", "True") for one in conditions):
            taken = time.perf_counter() - begin
            client.delete(kinds.PODS, name, namespace)
    raise AssertionError(f"{name} does not become Ready, or does not end")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

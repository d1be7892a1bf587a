"""What Prometheus, the Events and the monitor's page say of real Pods on (simulated) cards."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from email.message import Message
from typing import Any

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.versions import REPO
from tests.e2e.kubectl import Kubectl, claim, on_node, pod
from tests.support.prometheus_server import PrometheusServer
from tests.support.waiting import until

MIB = 1024**2
CONTEXT_MIB = 256
"""What the simulated driver takes for a context."""
NAMESPACE = "hami-system"
SELECTOR = "app.kubernetes.io/name=hami-dra,app.kubernetes.io/component="


@contextmanager
def forwarded(cluster: Cluster, name: str, port: int) -> Iterator[str]:
    """A port of a Pod on loopback; yields host:port."""
    command = [*cluster.kubectl_command, "-n", NAMESPACE, "port-forward", f"pod/{name}", f":{port}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        found = re.search(r"(127\.0\.0\.1:\d+)", process.stdout.readline())
        assert found, f"cannot forward port {port} of {name}"
        try:
            yield found[1]
        finally:
            process.terminate()


def running(cluster: Cluster, component: str) -> list[dict[str, Any]]:
    pods = Kubectl(cluster, NAMESPACE).list("pods", "-l", SELECTOR + component)
    return [each for each in pods if "deletionTimestamp" not in each["metadata"]]


@pytest.fixture(scope="module")
def prometheus(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """Prometheus over every plugin and the monitor."""
    with ExitStack() as stack:
        targets = {}
        for component in ("driver", "monitor"):
            for each in running(cluster, component):
                name = each["metadata"]["name"]
                targets[name] = stack.enter_context(forwarded(cluster, name, 8080))
        rules = REPO / "charts/hami/charts/hami-dra/alerts/hami.yaml"
        server = PrometheusServer(tmp_path_factory.mktemp("prometheus"), targets, rules)
        stack.callback(server.stop)
        yield server


def of(namespace: Kubectl, name: str, pod: str) -> str:
    return f'{name}{{namespace="{namespace.namespace}",pod="{pod}"}}'


def background(namespace: Kubectl, pod: str, command: str) -> None:
    namespace("exec", pod, "--", "sh", "-c", f"{command} >/tmp/out 2>&1 &")


def started(namespace: Kubectl, node: str, name: str = "train", **asked: Any) -> None:
    namespace.apply(claim(name, **asked), pod(name, claim=name, node=node))
    namespace.wait_running(name)


def test_memory_in_prometheus_is_what_the_workload_holds_to_the_mib(namespace, gpu_node, prometheus):
    started(namespace, gpu_node)
    used = of(namespace, "hami_vgpu_memory_used_bytes", "train")
    assert prometheus.series(used)[0][1] == 0
    (labels, limit) = prometheus.series(of(namespace, "hami_vgpu_memory_limit_bytes", "train"))[0]
    assert limit == 10 * 1024 * MIB
    assert (labels["container"], labels["node"], labels["vdevice_index"]) == ("cuda", gpu_node, "0")

    background(namespace, "train", "hami-fill --total 3000Mi --hold 120")
    until(lambda: prometheus.value(used) == (3000 + CONTEXT_MIB) * MIB, "3000 MiB and a context")
    background(namespace, "train", "hami-fill --total 1234Mi --hold 120")
    expected = (3000 + 1234 + 2 * CONTEXT_MIB) * MIB
    until(lambda: prometheus.value(used) == expected, "both processes")
    _, seen = namespace.run_in(
        "train", "nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"
    )
    assert int(seen) * MIB == expected
    assert prometheus.series(of(namespace, "hami_vgpu_processes", "train"))[0][1] == 2

    namespace("exec", "train", "--", "sh", "-c", "kill -9 $(pidof hami-fill)")
    until(lambda: prometheus.value(used) == 0, "nothing after SIGKILL")


def test_refused_allocations_are_counted(namespace, gpu_node, prometheus):
    started(namespace, gpu_node, memory="2Gi")
    refused = of(namespace, "hami_vgpu_allocations_refused_total", "train")
    assert prometheus.series(refused)[0][1] == 0
    code, _ = namespace.run_in("train", "hami-fill", "--total", "4Gi")
    assert code == 1
    until(lambda: prometheus.value(refused) == 1, "one refusal")


def test_compute_in_prometheus_is_what_the_workload_computed_to_two_points(namespace, gpu_node, prometheus):
    started(namespace, gpu_node, cores=30)
    total = of(namespace, "hami_vgpu_compute_seconds_total", "train")
    assert prometheus.series(total)[0][1] == 0
    _, said = namespace.run_in("train", "hami-burn", "--seconds", "12")
    found = re.search(r"([\d.]+) s of device time in ([\d.]+) s", said)
    assert found, said
    device_s, wall_s = float(found[1]), float(found[2])
    until(lambda: abs((prometheus.value(total) or 0) - device_s) / wall_s < 0.02, f"{device_s} s")
    held_back = prometheus.series(of(namespace, "hami_vgpu_throttled_seconds_total", "train"))[0][1]
    assert held_back > wall_s * 0.3, "with 30 of 100 it waits most of the time"
    assert prometheus.series(of(namespace, "hami_container_last_kernel_elapsed_seconds", "train"))[0][1] < 60


def test_the_series_of_a_share_go_with_its_pod(namespace, gpu_node, prometheus):
    started(namespace, gpu_node)
    series = f'{{namespace="{namespace.namespace}",__name__=~"hami_.+|vGPU.+"}}'
    until(lambda: len(prometheus.query(series)) > 10, "the series")
    namespace.delete_pod("train")
    namespace("delete", "resourceclaim", "train", "--timeout=60s")
    until(lambda: prometheus.query(series) == [], "no series")


def test_code_that_the_cuda_runtime_loads_past_the_limiter_is_booked_in_the_share(
    namespace, gpu_node, prometheus
):
    started(namespace, gpu_node, memory="2Gi")
    background(namespace, "train", "hami-fill --unseen 200Mi --total 1Gi --hold 60")
    used = of(namespace, "hami_vgpu_memory_used_bytes", "train")
    expected = 1024 + 200 + CONTEXT_MIB
    until(lambda: prometheus.value(used) == expected * MIB, f"{expected} MiB used")
    _, seen = namespace.run_in(
        "train", "nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"
    )
    assert int(seen) == expected
    code, said = namespace.run_in(
        "train", "hami-fill", "--chunk", "2Mi", "--total", f"{2048 - expected - CONTEXT_MIB + 2}Mi"
    )
    assert code == 1, said
    assert f"allocated {2048 - expected - CONTEXT_MIB} MiB" in said
    namespace("exec", "train", "--", "sh", "-c", "kill -9 $(pidof hami-fill)")
    until(lambda: prometheus.value(used) == 0, "nothing after SIGKILL")


HIDE = (
    # A loader that looks for another file than /etc/ld.so.preload, to stand for a static program.
    "sed s#/etc/ld.so.preload#/etc/ld.so.nothing# /lib64/ld-linux-x86-64.so.2 >/tmp/ld; chmod +x /tmp/ld; "
    "/tmp/ld /usr/local/bin/hami-fill --total 2Gi --hold 60"
)


def test_a_process_past_the_limiter_is_reported_after_two_rounds(namespace, gpu_node, prometheus):
    started(namespace, gpu_node)
    background(namespace, "train", HIDE)
    until(lambda: "OK" in namespace.run_in("train", "cat", "/tmp/out")[1], "the hidden process")
    rounds = f'hami_audit_rounds_total{{node="{gpu_node}"}}'
    before = prometheus.series(rounds)[0][1]
    unbooked = of(namespace, "hami_audit_unbooked_memory_bytes", "train")

    def reported() -> Any:
        events = namespace.list("events", "--field-selector", "reason=LimiterBypassed")
        return prometheus.query(unbooked) and events

    (event,) = until(reported, "the metric and the Event")
    first_told = f"min_over_time(({rounds} and on() {unbooked})[5m:1s])"
    took = prometheus.series(first_told)[0][1] - before
    assert took <= 2 + 2, "what is scraped is up to a round older than what is, at both ends"
    assert event["involvedObject"]["name"] == "train"
    assert "of container cuda holds 2304Mi of card GPU-" in event["message"]
    ((labels, memory),) = prometheus.series(unbooked)
    assert (labels["kind"], labels["container"]) == ("without-limiter", "cuda")
    assert memory == (2048 + CONTEXT_MIB) * MIB
    assert prometheus.series(of(namespace, "hami_vgpu_memory_used_bytes", "train"))[0][1] == 0
    firing = (
        f'ALERTS{{alertname="HamiLimiterBypassed",namespace="{namespace.namespace}",alertstate="firing"}}'
    )
    until(lambda: prometheus.query(firing), "the alert")
    namespace("exec", "train", "--", "sh", "-c", "kill -9 $(pidof ld)")
    until(lambda: prometheus.query(unbooked) == [], "no finding any more")


def test_processes_under_the_limiter_are_never_reported(namespace, gpu_node, prometheus):
    started(namespace, gpu_node)
    for _ in range(5):
        namespace.run_in("train", "hami-fill", "--total", "6Gi")
    background(namespace, "train", "hami-fill --total 6Gi --hold 30")
    rounds = f'hami_audit_rounds_total{{node="{gpu_node}"}}'
    before = prometheus.series(rounds)[0][1]
    until(lambda: (prometheus.value(rounds) or 0) >= before + 4, "four rounds")
    reports = f'hami_audit_unbooked_memory_bytes{{namespace="{namespace.namespace}"}}'
    assert prometheus.query(f"max_over_time({reports}[5m])") == []


DASHBOARDS = sorted((REPO / "charts/hami/charts/hami-dra/dashboards").glob("*.json"))
SILENT = {"Claims that failed", "Memory held past the limiter"}
"""Panels that are empty where all is well."""


def test_every_panel_shows_something_and_has_the_labels_that_its_legend_names(
    namespace, gpu_node, prometheus
):
    started(namespace, gpu_node, memory="2Gi", cores=30)
    namespace.apply(claim("huge", memory="500Gi"), pod("huge", claim="huge", node=gpu_node))
    background(namespace, "train", "hami-burn --seconds 300")
    shown = {"$__rate_interval": "15s", "$node": gpu_node, "$namespace": namespace.namespace}
    assert DASHBOARDS
    for panel in (panel for path in DASHBOARDS for panel in json.loads(path.read_text())["panels"]):
        if panel["title"] in SILENT:
            continue
        for target in panel["targets"]:
            # A share that computes is not idle.
            asked = target["expr"].replace("> 600", ">= 0")
            for variable, value in shown.items():
                asked = asked.replace(variable, value)
            series = prometheus.series(asked)
            legend = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert all(legend <= labels.keys() for labels, _ in series), (panel["title"], series)


def page(cluster: Cluster) -> Callable[[str], tuple[Message, bytes]]:
    (monitor,) = running(cluster, "monitor")

    def get(path: str) -> tuple[Message, bytes]:
        with (
            forwarded(cluster, monitor["metadata"]["name"], 8080) as address,
            urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer,
        ):
            return answer.headers, answer.read()

    return get


def test_the_monitor_tells_what_a_pod_waits_for(namespace, gpu_node, cluster, prometheus):
    namespace.apply(claim("huge", memory="500Gi"), pod("huge", claim="huge", node=gpu_node))
    since = (
        f'hami_dra_pod_waiting_since_timestamp_seconds{{namespace="{namespace.namespace}",reason="TooLarge"}}'
    )
    until(lambda: prometheus.value(since), "the Pod that waits")
    _, data = page(cluster)("/api/cluster")
    (waiting,) = [each for each in json.loads(data)["waiting"] if each["namespace"] == namespace.namespace]
    assert "asks for memory 500Gi and the largest card has" in waiting["sentence"]


def test_the_monitors_page_shows_the_share_of_a_pod(namespace, gpu_node, cluster):
    started(namespace, gpu_node, memory="3Gi", cores=20)
    get = page(cluster)
    headers, html = get("/")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert b"<h1>" in html

    def shares() -> list[Any]:
        nodes = json.loads(get("/api/cluster")[1])["nodes"]
        cards = next(node["cards"] for node in nodes if node["name"] == gpu_node)
        return [
            share for card in cards for share in card["shares"] if share["namespace"] == namespace.namespace
        ]

    (share,) = until(shares, "the share")
    assert share == {
        "namespace": namespace.namespace,
        "claim": "train",
        "pods": ["train"],
        "memory": 3 * 1024 * MIB,
        "cores": 20,
    }


@pytest.mark.parametrize(("command", "most_mib"), [("plugin", 90), ("monitor", 80)])
def test_memory_of_our_own_processes_stays_within_its_budget(cluster, prometheus, command, most_mib):
    """After all the scrapes of this module."""
    script = (
        "for p in /proc/[0-9]*; do grep -qz . $p/cmdline 2>/dev/null && "
        f"tr '\\0' ' ' <$p/cmdline | grep -q 'hami {command}' && grep VmRSS $p/status; done; true"
    )
    found = [
        int(kib) // 1024
        for node in cluster.nodes()
        for kib in re.findall(r"VmRSS:\s+(\d+) kB", on_node(node, "sh", "-c", script))
    ]
    assert found
    assert max(found) <= most_mib, found

"""`hami monitor` as the Deployment starts it, over an API server in memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from hami_dra.kube import DEVICE_CLASSES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES
from hami_dra.model.names import CONVERTED_LABEL, DRIVER
from tests.support.cards import NODE, claim, share
from tests.support.fake_kube import FakeKube, Gate
from tests.support.kube_server import serving
from tests.support.ports import free_port
from tests.support.waiting import until

SRC = Path(__file__).parents[2] / "src"
GUIDE = Path(__file__).parents[1] / "guide"


def get(port: int, path: str) -> str:
    """The answer's text; empty while there is none, also of a port that listens and is not served yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""


def waiting_pod(name: str, claim: str, **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {
        "metadata": metadata | {"creationTimestamp": "2026-11-25T02:00:00Z"},
        "spec": {"resourceClaims": [{"name": "gpu", "resourceClaimName": claim}]},
        "status": {"phase": "Pending"},
    }


@contextmanager
def monitor(kube: FakeKube, folder: Path) -> Iterator[tuple[int, int]]:
    """Runs until the block ends; yields its ports of metrics and of health."""
    metrics, health = free_port(), free_port()
    variables = os.environ | {
        "PYTHONPATH": str(SRC),
        "KUBECONFIG": str(folder / "kubeconfig"),
        "HAMI_METRICS_PORT": str(metrics),
        "HAMI_HEALTH_PORT": str(health),
        "HAMI_LEGACY_METRICS": "false",
        "HAMI_NAMESPACE": "shares",
    }
    command = [sys.executable, "-m", "hami_dra.cli.main", "monitor"]
    with serving(kube, folder), subprocess.Popen(command, env=variables) as process:
        try:
            yield metrics, health
        finally:
            process.terminate()
            assert process.wait(timeout=60) == 0


def waiting(port: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(get(port, "/api/cluster"))["waiting"]
    return found


def publish(kube: FakeKube) -> None:
    """The guide's cards, one of which is half given away."""
    published = yaml.safe_load((GUIDE / "resourceslice.expected.yaml").read_text())
    for device in published["spec"]["devices"]:
        device["allowMultipleAllocations"] = True  # the guide's print leaves it out
    kube.create(RESOURCE_SLICES, published)
    kube.create(DEVICE_CLASSES, {"metadata": {"name": DRIVER}})
    kube.create(RESOURCE_CLAIMS, claim("half", share()), "default")


def test_it_tells_what_is_allocated_and_who_waits_as_metrics_and_as_a_page(
    folder: Path, kube: FakeKube
) -> None:
    publish(kube)
    huge = claim("huge")
    huge["spec"]["devices"]["requests"][0]["exactly"]["capacity"] = {"requests": {"memory": "500Gi"}}
    kube.create(RESOURCE_CLAIMS, huge, "default")
    kube.create(PODS, waiting_pod("late", "huge"), "default")
    started = time.time()
    with monitor(kube, folder) as (metrics, health):
        until(lambda: get(health, "/readyz") == "ok")
        assert f'hami_dra_gpu_memory_allocated_bytes{{node="{NODE}"' in get(metrics, "/metrics")
        assert 'hami_dra_pods_waiting{reason="TooLarge"} 1' in get(metrics, "/metrics")
        synced = re.findall(r'last_sync_timestamp_seconds{resource="(\w+)"} (\S+)', get(metrics, "/metrics"))
        assert len(synced) == 5
        assert all(started <= float(at) <= time.time() for _, at in synced)
        assert "GPUDeviceMemoryLimit" not in get(metrics, "/metrics")
        assert "<h1>" in get(metrics, "/")
        assert [each["pod"] for each in waiting(metrics)] == ["late"]
        document = json.loads(get(metrics, "/api/cluster"))
        assert len(document["nodes"][0]["cards"][0]["shares"]) == 1
        assert document["staleSince"] is None
        assert get(health, "/") == "", "the page is not on the port of the probes"

        kube.create(PODS, waiting_pod("unmade", "none", **{CONVERTED_LABEL: "true"}), "default")
        (told,) = until(lambda: [each for each in waiting(metrics) if each["pod"] == "unmade"])
        assert told["next"].startswith("kubectl -n shares logs ")

        kube.delete(PODS, "unmade", "default")
        kube.delete(PODS, "late", "default")
        until(lambda: "hami_dra_pods_waiting{" not in get(metrics, "/metrics"))


def test_before_it_has_read_everything_it_tells_nothing(folder: Path, kube: FakeKube) -> None:
    """Without the claims, every card would look free for a moment whenever it starts."""
    publish(kube)
    kube.gate = Gate("list", RESOURCE_CLAIMS.plural, "")
    with monitor(kube, folder) as (metrics, health):
        until(lambda: get(health, "/healthz") == "ok")
        assert kube.gate.reached.wait(60)
        assert get(health, "/readyz") == ""
        assert "process_resident_memory_bytes" in get(metrics, "/metrics")
        assert "hami_dra_gpu_memory_allocated_bytes" not in get(metrics, "/metrics")
        assert get(metrics, "/api/cluster") == ""
        kube.gate.opened.set()
        until(lambda: get(health, "/readyz") == "ok")
        assert f'hami_dra_gpu_memory_allocated_bytes{{node="{NODE}"' in get(metrics, "/metrics")
        until(lambda: get(metrics, "/api/cluster") != "")

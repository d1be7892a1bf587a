"""What each share uses now, for `hami top`: from the plugins' metrics, or from the ledgers of this host."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from hami_dra.kube import kinds
from hami_dra.kube.protocol import KubeClient, Object
from hami_dra.model import errors
from hami_dra.observe import shares as node_shares
from hami_dra.observe.shares import NodeShare
from hami_dra.ops.facts import OURS, PLUGINS, component
from hami_dra.ops.gather import AT_ONCE

_SAMPLE = re.compile(r"^(hami_[a-z_]+)\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Usage:
    """A share at one moment. Bytes, seconds that only grow, ratios 0..1; None: not known yet."""

    node: str
    card: str
    namespace: str
    pod: str
    container: str
    share: str
    memory: int | None
    memory_limit: int
    core_limit: float
    utilization: float | None
    compute_s: float
    throttled_s: float
    throttled: float | None
    """Part of the time for which launches are held back."""
    refused: int
    processes: int


@dataclass(frozen=True)
class Sample:
    """All shares at AT (seconds of a steady clock), and the nodes that did not tell."""

    at: float
    shares: list[Usage]
    silent: dict[str, str]


Source = Callable[[], Sample]


def of_cluster(client: KubeClient) -> Source:
    """Ask every plugin for its metrics, through the API server's Pod proxy."""

    def read() -> Sample:
        pods, _ = client.list(kinds.PODS, labels=OURS)
        running = [pod for pod in pods if component(pod) in PLUGINS and pod["spec"].get("nodeName")]
        shares: dict[tuple[str, str], Usage] = {}
        silent: dict[tuple[str, str], str] = {}
        answered = set()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for pod, answer in zip(running, pool.map(lambda pod: _scrape(client, pod), running), strict=True):
                plugin = pod["spec"]["nodeName"], component(pod)
                if isinstance(answer, errors.KubeError):
                    silent[plugin] = str(answer)
                else:
                    answered.add(plugin)
                    shares |= {(use.node, use.share): use for use in from_metrics(answer)}
        # Of two Pods during a rolling update one is enough, and both tell of the same shares.
        told = {node: why for (node, part), why in silent.items() if (node, part) not in answered}
        return Sample(time.monotonic(), list(shares.values()), told)

    return read


def of_host(state: Path) -> Source:
    """Read the ledgers of this host: of its plugin, and of every `hami run`."""

    def read() -> Sample:
        node = os.uname().nodename
        found = [_of_share(node, share, "") for share in node_shares.read(state)]
        for folder in _runs():
            found += [_of_share(node, share, folder.name) for share in node_shares.read(folder)]
        return Sample(time.monotonic(), found, {})

    return read


def between(before: Sample, now: Sample) -> Sample:
    """NOW with the compute that each share used since BEFORE."""
    span = now.at - before.at
    earlier = {(use.node, use.share): use for use in before.shares}

    def rated(use: Usage) -> Usage:
        old = earlier.get((use.node, use.share))
        if old is None or span <= 0 or use.compute_s < old.compute_s:
            return use
        throttled = max(0.0, use.throttled_s - old.throttled_s) / span
        return replace(use, utilization=(use.compute_s - old.compute_s) / span, throttled=min(throttled, 1.0))

    return replace(now, shares=[rated(use) for use in now.shares])


def from_metrics(text: str) -> list[Usage]:
    """The shares in a plugin's metrics."""
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    cards: dict[str, str] = {}
    for name, labels, value in _SAMPLE.findall(text):
        label = dict(_LABEL.findall(labels))
        if name == "hami_host_gpu_memory_total_bytes":
            cards[label["device_uuid"]] = label["device_index"]
        elif "share" in label:
            keys = ("node", "device_uuid", "namespace", "pod", "container", "share")
            rows.setdefault(tuple(label.get(key, "") for key in keys), {})[name] = float(value)
    return [
        Usage(
            node=node,
            card=cards.get(uuid, uuid),
            namespace=namespace,
            pod=pod,
            container=container,
            share=share,
            memory=int(used) if (used := row.get("hami_vgpu_memory_used_bytes")) is not None else None,
            memory_limit=int(row.get("hami_vgpu_memory_limit_bytes", 0)),
            core_limit=row.get("hami_vgpu_core_limit_ratio", 1.0),
            utilization=row.get("hami_container_device_utilization_ratio"),
            compute_s=row.get("hami_vgpu_compute_seconds_total", 0.0),
            throttled_s=row.get("hami_vgpu_throttled_seconds_total", 0.0),
            throttled=None,
            refused=int(row.get("hami_vgpu_allocations_refused_total", 0)),
            processes=int(row.get("hami_vgpu_processes", 0)),
        )
        for (node, uuid, namespace, pod, container, share), row in rows.items()
    ]


def _scrape(client: KubeClient, pod: Object) -> str | errors.KubeError:
    metadata = pod["metadata"]
    try:
        return client.raw(
            f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}:8080/proxy/metrics"
        )
    except errors.KubeError as problem:
        return problem


def _of_share(node: str, share: NodeShare, run: str) -> Usage:
    return Usage(
        node=node,
        card=share.device_uuid[: len("GPU-12345678")],
        namespace="",
        pod=run,
        container="",
        share=share.share_id,
        memory=None if share.ledger.damaged else share.used,
        memory_limit=share.memory,
        core_limit=share.core_limit,
        utilization=None,
        compute_s=share.ledger.compute_ns / 1e9,
        throttled_s=share.ledger.throttled_ns / 1e9,
        throttled=None,
        refused=sum(slot.refused for slot in share.ledger.slots),
        processes=len(share.ledger.living),
    )


def _runs() -> Iterable[Path]:
    """The folders of `hami run`, each with a folder `shares` as a node has one."""
    places = {Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()), Path(tempfile.gettempdir())}
    return sorted(folder for place in places for folder in place.glob("hami-run-*"))

"""The metric families of the monitor: what is allocated, free and waited for in the whole cluster. Pure.

Names and labels of cards and shares are those of upstream's DRA monitor; units are bytes and ratios 0..1. The
names of HAMi's scheduler, and the older ones in MiB and percent, are kept for dashboards that use them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hami_dra.model.names import MIB
from hami_dra.observe.allocation import Card
from hami_dra.observe.cluster import CardUse, Cluster, PodShare
from hami_dra.observe.exposition import Family, Table, render
from hami_dra.observe.room import NamespaceUse, NodeRoom
from hami_dra.observe.waiting import Waiting


def _legacy_row(card: Card) -> tuple[str, ...]:
    brand = card.product.split(" ")[0]
    return (card.node, card.uuid, str(card.index), card.device, brand, card.product)


CARDS: Table[CardUse] = Table(
    subject="a card, as it is allocated",
    labels=("node", "device_uuid", "device_index", "device_name", "device_type"),
    row=lambda u: (u.card.node, u.card.uuid, str(u.card.index), u.card.device, u.card.product),
    families=(
        Family("hami_dra_gpu_core_limit_ratio", "Compute of the card (1).", lambda u: u.card.cores / 100),
        Family("hami_dra_gpu_memory_limit_bytes", "Memory of the card.", lambda u: u.card.memory),
        Family("hami_dra_gpu_core_allocated_ratio", "Compute that is allocated.", lambda u: u.cores / 100),
        Family("hami_dra_gpu_memory_allocated_bytes", "Memory that is allocated.", lambda u: u.memory),
        Family("hami_dra_gpu_shares", "Shares of the card that are allocated.", lambda u: len(u.shares)),
    ),
)

SHARES: Table[PodShare] = Table(
    subject="what a Pod holds of a card",
    labels=("namespace", "pod", "node", "device_uuid"),
    row=lambda s: (s.namespace, s.pod, s.card.node, s.card.uuid),
    families=(
        Family(
            "hami_dra_vgpu_core_allocated_ratio",
            "Compute of a card that a Pod holds.",
            lambda s: s.cores / 100,
        ),
        Family(
            "hami_dra_vgpu_memory_allocated_bytes", "Memory of a card that a Pod holds.", lambda s: s.memory
        ),
    ),
)

NODES: Table[NodeRoom] = Table(
    subject="a node",
    labels=("node",),
    row=lambda n: (n.node,),
    families=(
        Family("hami_dra_node_gpus", "Cards of the node.", lambda n: n.cards),
        Family("hami_dra_node_memory_limit_bytes", "Memory of the node's cards.", lambda n: n.memory),
        Family("hami_dra_node_memory_free_bytes", "Memory that is not allocated.", lambda n: n.free),
        Family(
            "hami_dra_node_largest_free_memory_bytes",
            "Memory of the largest share that still fits on one card of the node.",
            lambda n: n.largest,
        ),
        Family(
            "hami_dra_node_largest_free_core_ratio",
            "Compute of the largest share that still fits on one card of the node.",
            lambda n: n.largest_cores / 100,
        ),
    ),
)

NAMESPACES: Table[NamespaceUse] = Table(
    subject="a namespace",
    labels=("namespace",),
    row=lambda n: (n.namespace,),
    families=(
        Family("hami_dra_namespace_memory_allocated_bytes", "Memory that it holds.", lambda n: n.memory),
        Family(
            "hami_dra_namespace_core_allocated_ratio",
            "Compute that it holds (1: a card).",
            lambda n: n.cores / 100,
        ),
        Family("hami_dra_namespace_shares", "Shares that it holds.", lambda n: n.shares),
    ),
)

WAITING: Table[Waiting] = Table(
    subject="Pods that wait for a share",
    labels=("reason",),
    row=lambda w: (w.reason,),
    families=(Family("hami_dra_pods_waiting", "Pods that wait, by the cause.", lambda w: 1),),
)
LONGEST = 100
"""Pods that are told one by one: those that wait longest, so that the number of series is bounded."""
WAITING_PODS: Table[Waiting] = Table(
    subject=f"Pods that wait for a share, the longest {LONGEST}",
    labels=("namespace", "pod", "reason"),
    row=lambda w: (w.namespace, w.pod, w.reason),
    families=(
        Family(
            "hami_dra_pod_waiting_since_timestamp_seconds",
            "When a Pod that waits was created.",
            lambda w: w.since,
        ),
    ),
)

CLASSIC_CARDS: Table[CardUse] = Table(
    subject="a card, under the names of HAMi's scheduler",
    labels=("node", "device_uuid", "device_index", "device_type"),
    row=lambda u: (u.card.node, u.card.uuid, str(u.card.index), u.card.product),
    families=(
        Family("hami_gpu_memory_limit_bytes", "Memory of the card.", lambda u: u.card.memory),
        Family("hami_gpu_core_limit_ratio", "Compute of the card (1).", lambda u: u.card.cores / 100),
        Family("hami_gpu_shared_count", "Shares of the card that are allocated.", lambda u: len(u.shares)),
        Family("hami_gpu_memory_allocated_bytes", "Memory that is allocated.", lambda u: u.memory),
        Family("hami_gpu_core_allocated_ratio", "Compute that is allocated.", lambda u: u.cores / 100),
        Family(
            "hami_node_gpu_memory_allocated_ratio",
            "Part of the card's memory that is allocated.",
            lambda u: u.memory / u.card.memory if u.card.memory else None,
        ),
    ),
)

CLASSIC_SHARES: Table[PodShare] = Table(
    subject="what a Pod holds of a card, under the names of HAMi's scheduler",
    labels=SHARES.labels,
    row=SHARES.row,
    families=(
        Family("hami_vgpu_memory_allocated_bytes", "Memory that a Pod holds.", lambda s: s.memory),
        Family("hami_vgpu_core_allocated_ratio", "Compute that a Pod holds.", lambda s: s.cores / 100),
    ),
)

LEGACY_CARDS: Table[CardUse] = Table(
    subject="a card, under the older names",
    labels=("nodeid", "deviceuuid", "deviceidx", "devicename", "devicebrand", "deviceproductname"),
    row=lambda u: _legacy_row(u.card),
    families=(
        Family("GPUDeviceCoreLimit", "Compute of the card in percent.", lambda u: u.card.cores),
        Family("GPUDeviceMemoryLimit", "Memory of the card in MiB.", lambda u: u.card.memory / MIB),
        Family("GPUDeviceCoreAllocated", "Allocated compute of the card in percent.", lambda u: u.cores),
        Family("GPUDeviceMemoryAllocated", "Allocated memory of the card in MiB.", lambda u: u.memory / MIB),
        Family("GPUDeviceSharedNum", "Shares of the card that are allocated.", lambda u: len(u.shares)),
    ),
)

LEGACY_SHARES: Table[PodShare] = Table(
    subject="what a Pod holds of a card, under the older names",
    labels=(*LEGACY_CARDS.labels, "podnamespace", "podname"),
    row=lambda s: (*_legacy_row(s.card), s.namespace, s.pod),
    families=(
        Family("vGPUDeviceCoreAllocated", "Compute in percent that a Pod holds.", lambda s: s.cores),
        Family("vGPUDeviceMemoryAllocated", "Memory in MiB that a Pod holds.", lambda s: s.memory / MIB),
        Family("vGPUCoreAllocated", "The same as vGPUDeviceCoreAllocated.", lambda s: s.cores),
        Family("vGPUMemoryAllocated", "Memory in bytes that a Pod holds.", lambda s: s.memory),
    ),
)

SYNCS: Table[tuple[str, float]] = Table(
    subject="how old all of this is",
    labels=("resource",),
    row=lambda sync: (sync[0],),
    families=(
        Family(
            "hami_dra_monitor_last_sync_timestamp_seconds",
            "When the API server was last heard on objects of a kind; up to 4 minutes ago when none change.",
            lambda sync: sync[1],
        ),
    ),
)


def text(cluster: Cluster, heard_at: Mapping[str, float], *, legacy: bool) -> Iterator[str]:
    """Every family with its samples. HEARD_AT: seconds of the epoch by resource (`Cache.heard_at`)."""
    yield from render(SYNCS, heard_at.items())
    yield from render(CARDS, cluster.cards)
    yield from render(SHARES, cluster.shares)
    yield from render(NODES, cluster.nodes)
    yield from render(NAMESPACES, cluster.namespaces)
    yield from render(WAITING, cluster.waiting)
    longest = sorted(cluster.waiting, key=lambda waiting: waiting.since)[:LONGEST]
    yield from render(WAITING_PODS, longest)
    if legacy:
        yield from render(CLASSIC_CARDS, cluster.cards)
        yield from render(CLASSIC_SHARES, cluster.shares)
        yield from render(LEGACY_CARDS, cluster.cards)
        yield from render(LEGACY_SHARES, cluster.shares)

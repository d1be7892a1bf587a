"""The metric families of the monitor, one row each, under upstream's names (HAMi-DRA monitor). Pure.

Units: bytes and ratios 0..1. The older names, in MiB and percent, are kept for dashboards that use them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from prometheus_client.core import GaugeMetricFamily

from hami_dra.model import names
from hami_dra.observe.allocation import Card, Share

T = TypeVar("T")


@dataclass(frozen=True)
class CardUse:
    """A card and what is allocated of it: bytes and cores in percent."""

    card: Card
    memory: int
    cores: int


@dataclass(frozen=True)
class Family(Generic[T]):
    """A gauge: its name, help, and value of one row."""

    name: str
    help: str
    value: Callable[[T], float]


CARD_LABELS = ("node", "device_uuid", "device_index", "device_name", "device_type")
CARD_FAMILIES: tuple[Family[CardUse], ...] = (
    Family("hami_dra_gpu_core_limit_ratio", "Compute of the card (1: whole).", lambda u: u.card.cores / 100),
    Family("hami_dra_gpu_memory_limit_bytes", "Memory of the card.", lambda u: u.card.memory),
    Family("hami_dra_gpu_core_allocated_ratio", "Allocated compute of the card.", lambda u: u.cores / 100),
    Family("hami_dra_gpu_memory_allocated_bytes", "Allocated memory of the card.", lambda u: u.memory),
)

SHARE_LABELS = ("namespace", "pod", "node", "device_uuid")
SHARE_FAMILIES: tuple[Family[Share], ...] = (
    Family(
        "hami_dra_vgpu_core_allocated_ratio", "Compute of a card that a Pod holds.", lambda s: s.cores / 100
    ),
    Family("hami_dra_vgpu_memory_allocated_bytes", "Memory of a card that a Pod holds.", lambda s: s.memory),
)

LEGACY_CARD_LABELS = ("nodeid", "deviceuuid", "deviceidx", "devicename", "devicebrand", "deviceproductname")
LEGACY_CARD_FAMILIES: tuple[Family[CardUse], ...] = (
    Family("GPUDeviceCoreLimit", "Compute of the card in percent.", lambda u: u.card.cores),
    Family("GPUDeviceMemoryLimit", "Memory of the card in MiB.", lambda u: u.card.memory / names.MIB),
    Family("GPUDeviceCoreAllocated", "Allocated compute of the card in percent.", lambda u: u.cores),
    Family(
        "GPUDeviceMemoryAllocated", "Allocated memory of the card in MiB.", lambda u: u.memory / names.MIB
    ),
)

LEGACY_SHARE_LABELS = (*LEGACY_CARD_LABELS, "podnamespace", "podname")
LEGACY_SHARE_FAMILIES: tuple[Family[Share], ...] = (
    Family("vGPUDeviceCoreAllocated", "Compute in percent that a Pod holds.", lambda s: s.cores),
    Family("vGPUDeviceMemoryAllocated", "Memory in MiB that a Pod holds.", lambda s: s.memory / names.MIB),
)


def families(uses: list[CardUse], held: list[Share], *, legacy: bool) -> Iterator[GaugeMetricFamily]:
    """Every family with its rows."""
    yield from _fill(CARD_FAMILIES, CARD_LABELS, [(use, _card_labels(use.card)) for use in uses])
    yield from _fill(
        SHARE_FAMILIES,
        SHARE_LABELS,
        [(share, (share.namespace, share.pod, share.card.node, share.card.uuid)) for share in held],
    )
    if legacy:
        cards = [(use, _legacy_labels(use.card)) for use in uses]
        yield from _fill(LEGACY_CARD_FAMILIES, LEGACY_CARD_LABELS, cards)
        shares = [(share, (*_legacy_labels(share.card), share.namespace, share.pod)) for share in held]
        yield from _fill(LEGACY_SHARE_FAMILIES, LEGACY_SHARE_LABELS, shares)


def _fill(
    table: tuple[Family[T], ...], labels: tuple[str, ...], rows: list[tuple[T, tuple[str, ...]]]
) -> Iterator[GaugeMetricFamily]:
    """Rows with the same labels (two shares of one card in one Pod) are added up: series are unique."""
    for family in table:
        gauge = GaugeMetricFamily(family.name, family.help, labels=labels)
        totals: dict[tuple[str, ...], float] = {}
        for row, key in rows:
            totals[key] = totals.get(key, 0.0) + family.value(row)
        for key, value in totals.items():
            gauge.add_metric(key, value)
        yield gauge


def _card_labels(card: Card) -> tuple[str, ...]:
    return (card.node, card.uuid, str(card.index), card.device, card.product)


def _legacy_labels(card: Card) -> tuple[str, ...]:
    brand = card.product.split(" ")[0]
    return (card.node, card.uuid, str(card.index), card.device, brand, card.product)

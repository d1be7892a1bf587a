"""The metric families of a node: what each share and card uses now. Pure.

Names and labels are those of HAMi's node monitor wherever it has the same thing, with `node` and `share`
added; units are bytes, seconds and ratios 0..1. The older names keep their percent. Left out of upstream's
set: memory by kind (context, module, buffer), which the ledger does not tell apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hami_dra.model.reading import CardReading
from hami_dra.observe.exposition import Family, Table, render
from hami_dra.observe.holders import Holder
from hami_dra.observe.shares import NodeShare
from hami_dra.observe.totals import Total


@dataclass(frozen=True)
class ShareUse:
    """A share with who holds it and what it did."""

    node: str
    share: NodeShare
    holder: Holder
    total: Total
    now_s: float = 0.0
    """CLOCK_MONOTONIC, as the ledger's `active_s`."""

    @property
    def idle_s(self) -> float | None:
        """Seconds since a process of the share last computed; None: never."""
        return max(0.0, self.now_s - self.share.active_s) if self.share.active_s else None


@dataclass(frozen=True)
class CardUse:
    """A card as its driver tells it."""

    node: str
    card: CardReading


def _percent(ratio: float | None) -> float | None:
    return None if ratio is None else ratio * 100


@dataclass(frozen=True)
class DeviceShareUse:
    """A share of a device whose family has no ledgers: limits as they were granted, bytes and ratios 0..1.

    `used` and `utilization` are those of the device, while the share is the only one of it; None otherwise.
    """

    node: str
    share_id: str
    device_uuid: str
    holder: Holder
    memory: int | None
    core_limit: float | None
    used: int | None
    utilization: float | None


def _from_ledger(value: Callable[[ShareUse], float | None]) -> Callable[[ShareUse], float | None]:
    """VALUE, while the share's ledger can be read."""
    return lambda use: None if use.share.ledger.damaged else value(use)


SHARES: Table[ShareUse] = Table(
    subject="a share of a card, on its node",
    labels=("namespace", "pod", "container", "vdevice_index", "device_uuid", "node", "share"),
    row=lambda u: (
        u.holder.namespace,
        u.holder.pod,
        u.holder.container,
        u.holder.index,
        u.share.device_uuid,
        u.node,
        u.share.share_id,
    ),
    families=(
        Family(
            "hami_vgpu_memory_used_bytes",
            "Memory that the share's processes hold.",
            _from_ledger(lambda u: u.share.used),
        ),
        Family("hami_vgpu_memory_limit_bytes", "Memory that the share may hold.", lambda u: u.share.memory),
        Family(
            "hami_container_device_memory_bytes",
            "The same as hami_vgpu_memory_used_bytes, under upstream's second name.",
            _from_ledger(lambda u: u.share.used),
        ),
        Family(
            "hami_vgpu_core_limit_ratio",
            "Compute that the share may use (1: all that is idle).",
            lambda u: u.share.core_limit,
        ),
        Family(
            "hami_container_device_utilization_ratio",
            "Compute that the share used in the last 10 seconds.",
            _from_ledger(lambda u: u.total.utilization),
        ),
        Family(
            "hami_container_last_kernel_elapsed_seconds",
            "Time since the share last computed; no sample before it did.",
            _from_ledger(lambda u: u.idle_s),
        ),
        Family(
            "hami_vgpu_compute_seconds_total",
            "Device time that the share used; its rate is the compute in use.",
            _from_ledger(lambda u: u.share.ledger.compute_ns / 1e9),
            "counter",
        ),
        Family(
            "hami_vgpu_throttled_seconds_total",
            "Time for which the share's launches were held back to keep its compute limit.",
            _from_ledger(lambda u: u.share.ledger.throttled_ns / 1e9),
            "counter",
        ),
        Family(
            "hami_vgpu_allocations_refused_total",
            "Allocations that did not fit into the share's memory.",
            _from_ledger(lambda u: u.total.refused),
            "counter",
        ),
        Family(
            "hami_vgpu_processes",
            "Processes that use the share.",
            _from_ledger(lambda u: len(u.share.ledger.living)),
        ),
        Family(
            "hami_vgpu_ledger_damaged",
            "1 while the share's ledger cannot be read: its use is not known, and it gets no more memory.",
            lambda u: int(u.share.ledger.damaged),
        ),
    ),
)

CARDS: Table[CardUse] = Table(
    subject="a card, on its node",
    labels=("node", "device_index", "device_uuid", "device_type"),
    row=lambda u: (u.node, str(u.card.index), u.card.uuid, u.card.product),
    families=(
        Family(
            "hami_host_gpu_memory_used_bytes",
            "Memory of the card in use by anybody.",
            lambda u: u.card.memory_used,
        ),
        Family("hami_host_gpu_memory_total_bytes", "Memory of the card.", lambda u: u.card.memory),
        Family(
            "hami_host_gpu_utilization_ratio", "Compute of the card in use.", lambda u: u.card.utilization
        ),
        Family(
            "hami_host_gpu_memory_controller_utilization_ratio",
            "Part of the time in which the card's memory was read or written.",
            lambda u: u.card.memory_bus,
        ),
        Family("hami_host_gpu_temperature_celsius", "Temperature of the card.", lambda u: u.card.temperature),
        Family("hami_host_gpu_power_watts", "Power that the card draws.", lambda u: u.card.power),
        Family(
            "hami_host_gpu_healthy", "1 while the driver reaches the card.", lambda u: int(u.card.healthy)
        ),
    ),
)

# The same names and labels, for what can be known of a share without a ledger.
_OF_SHARES = {family.name: family for family in SHARES.families}


def _known(name: str, value: Callable[[DeviceShareUse], float | None]) -> Family[DeviceShareUse]:
    return Family(name, _OF_SHARES[name].help, value)


DEVICE_SHARES: Table[DeviceShareUse] = Table(
    subject="a share of another family's device, on its node",
    labels=SHARES.labels,
    row=lambda u: (
        u.holder.namespace,
        u.holder.pod,
        u.holder.container,
        u.holder.index,
        u.device_uuid,
        u.node,
        u.share_id,
    ),
    families=(
        _known("hami_vgpu_memory_used_bytes", lambda u: u.used),
        _known("hami_vgpu_memory_limit_bytes", lambda u: u.memory),
        _known("hami_container_device_memory_bytes", lambda u: u.used),
        _known("hami_vgpu_core_limit_ratio", lambda u: u.core_limit),
        _known("hami_container_device_utilization_ratio", lambda u: u.utilization),
    ),
)

LEGACY_SHARES: Table[ShareUse] = Table(
    subject="a share of a card, under the names before HAMi 2.9",
    labels=("podnamespace", "podname", "ctrname", "vdeviceid", "deviceuuid"),
    row=lambda u: (u.holder.namespace, u.holder.pod, u.holder.container, u.holder.index, u.share.device_uuid),
    families=(
        Family(
            "vGPU_device_memory_usage_in_bytes",
            "Memory in use, in bytes.",
            _from_ledger(lambda u: u.share.used),
        ),
        Family("vGPU_device_memory_limit_in_bytes", "Memory limit, in bytes.", lambda u: u.share.memory),
        Family(
            "Device_utilization_desc_of_container",
            "Compute used in the last 10 seconds, in percent.",
            _from_ledger(lambda u: _percent(u.total.utilization)),
        ),
        Family(
            "Device_last_kernel_of_container",
            "Seconds since it last computed.",
            _from_ledger(lambda u: u.idle_s),
        ),
    ),
)

LEGACY_CARDS: Table[CardUse] = Table(
    subject="a card, under the names before HAMi 2.9",
    labels=("nodeid", "deviceidx", "deviceuuid", "devicetype"),
    row=CARDS.row,
    families=(
        Family("HostGPUMemoryUsage", "Memory of the card in use, in bytes.", lambda u: u.card.memory_used),
        Family("HostCoreUtilization", "Compute in use, in percent.", lambda u: _percent(u.card.utilization)),
    ),
)


def text(shares: Sequence[ShareUse], cards: Sequence[CardUse], *, legacy: bool) -> Iterator[str]:
    """Every family with its samples."""
    yield from render(SHARES, shares)
    yield from render(CARDS, cards)
    if legacy:
        yield from render(LEGACY_SHARES, shares)
        yield from render(LEGACY_CARDS, cards)

"""A device as its family describes it: nothing of Kubernetes in it, and nothing of one maker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MEMORY = "memory"
CORES = "cores"


@dataclass(frozen=True)
class Version:
    """A version as the driver prints it, for example `550.144.03`."""

    text: str


Attribute = str | int | bool | Version
"""What claims select by."""


@dataclass(frozen=True)
class Capacity:
    """An amount that claims consume. A claim that names none takes `default`.

    What it names is rounded up to `least` + n * `step`, or to the next of `values` where there are any
    (at most ten, ascending, `value` the last of them). `units`: how many things of their own (cores, compute
    units) the whole `value` stands for; a share is then told which of them are its, and 0 means it is not.
    """

    name: str
    value: int
    default: int
    least: int = 0
    step: int = 1
    values: tuple[int, ...] = ()
    in_bytes: bool = False
    units: int = 0

    def accepts(self, amount: int) -> bool:
        """Could the scheduler have granted AMOUNT?"""
        return amount in self.values if self.values else self.least <= amount <= self.value


@dataclass(frozen=True)
class Parts:
    """What a device is cut from: slices by number, of the TOTAL that WHOLE (a DNS label) has. Of devices that
    have a slice in common one can be had at a time."""

    whole: str
    numbers: tuple[int, ...]
    total: int

    def overlap(self, other: Parts) -> bool:
        """Whether the two have a slice in common."""
        return self.whole == other.whole and bool(set(self.numbers) & set(other.numbers))


@dataclass(frozen=True)
class Device:
    """One device. `name` is unique on the node and as stable over restarts as the host allows.

    `uuid` is its identity: limits, ledgers and the sum of all shares are keyed by it. Attribute names without
    a domain are the driver's own. `shared` False: a claim takes the whole device, and the capacities only
    describe it. `parts`: what it has in common with other devices. `detail` belongs to the backend that found
    the device; nobody else looks into it.
    """

    name: str
    uuid: str
    attributes: Mapping[str, Attribute]
    capacities: tuple[Capacity, ...] = ()
    shared: bool = True
    detail: Any = field(default=None, compare=False)
    parts: Parts | None = None

    @property
    def consumable(self) -> tuple[Capacity, ...]:
        """The capacities that every share of the device consumes some of."""
        return self.capacities if self.shared else ()

    def capacity(self, name: str) -> int:
        """The whole amount of one capacity, 0 when the device has none of that name."""
        return next((capacity.value for capacity in self.capacities if capacity.name == name), 0)

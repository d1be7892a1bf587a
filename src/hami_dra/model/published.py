"""ResourceSlices -> the cards of the cluster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hami_dra.model import quantity

Object = dict[str, Any]


@dataclass(frozen=True)
class Card:
    """One published device. `memory` in bytes, 0 when it publishes none; `attributes` as in the slice."""

    driver: str
    pool: str
    name: str
    memory: int = 0
    cores: int = 0
    shared: bool = True
    attributes: Object = field(default_factory=dict)

    def text(self, attribute: str) -> str:
        """A string attribute, empty when the card has none of that name."""
        return str((self.attributes.get(attribute) or {}).get("string", ""))


def newest(slices: Iterable[Object]) -> list[Object]:
    """Of each pool the slices of its latest generation, as the scheduler takes them; the others are to go."""
    listed = list(slices)
    latest: dict[tuple[str, str], int] = {}
    for item in listed:
        latest[_pool(item)] = max(latest.get(_pool(item), 0), _generation(item))
    return [item for item in listed if _generation(item) == latest[_pool(item)]]


def cards(slices: Iterable[Object]) -> list[Card]:
    """Every device that is published, in the order of the slices."""
    return [
        Card(
            driver=item["spec"]["driver"],
            pool=item["spec"]["pool"]["name"],
            name=device["name"],
            memory=_amount(device, "memory"),
            cores=_amount(device, "cores"),
            shared=bool(device.get("allowMultipleAllocations")),
            attributes=device.get("attributes") or {},
        )
        for item in newest(slices)
        for device in item["spec"].get("devices") or []
    ]


def _pool(item: Object) -> tuple[str, str]:
    return item["spec"]["driver"], item["spec"]["pool"]["name"]


def _generation(item: Object) -> int:
    return int(item["spec"]["pool"].get("generation", 0))


def _amount(device: Object, key: str) -> int:
    capacity = (device.get("capacity") or {}).get(key)
    return quantity.parse_int(capacity["value"]) if capacity else 0

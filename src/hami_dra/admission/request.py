"""Pod -> GPU requests: what each container asks for by HAMi's resource names, checked.

Pure. Everything that is wrong is refused with the container, the resource and what to write instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hami_dra.model import names, quantity
from hami_dra.model.errors import RequestDenied

Object = dict[str, Any]

CONTAINER_LISTS = ("initContainers", "containers")


@dataclass(frozen=True)
class ResourceNames:
    """The extended resources that stand for shares; an operator may rename them in the chart."""

    gpu: str = "nvidia.com/gpu"
    memory: str = "nvidia.com/gpumem"
    memory_percentage: str = "nvidia.com/gpumem-percentage"
    cores: str = "nvidia.com/gpucores"
    priority: str = "nvidia.com/priority"

    def all(self) -> tuple[str, ...]:
        """Every name that is taken out of a converted container."""
        return (self.gpu, self.memory, self.memory_percentage, self.cores, self.priority)


@dataclass(frozen=True)
class GpuRequest:
    """What one container asks for on each of `count` distinct cards.

    `memory` in bytes; None: the whole card (or `percentage` of it, 1..100). `cores` in percent of a card.
    """

    container: str
    count: int = 1
    memory: int | None = None
    percentage: int | None = None
    cores: int = 0


def requests_of(pod: Object, resources: ResourceNames) -> list[GpuRequest]:
    """Return the GPU requests of a Pod, init containers first; empty when it asks for none.

    Raises RequestDenied for amounts that no card can satisfy and for contradictions.
    """
    found = [
        request
        for group in CONTAINER_LISTS
        for container in pod["spec"].get(group) or []
        if (request := _request(container, f"spec.{group}[{container.get('name', '?')}]", resources))
    ]
    if found and pod["spec"].get("nodeName"):
        raise RequestDenied(
            "a Pod that is put on a node by hand never passes the scheduler, so no share is allocated for it",
            where="spec.nodeName",
            fix="use spec.nodeSelector with kubernetes.io/hostname instead",
        )
    return found


def _request(container: Object, where: str, resources: ResourceNames) -> GpuRequest | None:
    amounts = _amounts(container, where, resources)
    if not amounts:
        return None
    count = amounts.get(resources.gpu, 1)
    memory = amounts.get(resources.memory)
    percentage = amounts.get(resources.memory_percentage)
    cores = amounts.get(resources.cores)
    _between(count, 1, 16, where, resources.gpu, "cards")
    if memory is not None:
        _between(memory, 1, None, where, resources.memory, "MiB")
    if percentage is not None:
        _between(percentage, 1, 100, where, resources.memory_percentage, "percent")
    if cores is not None:
        _between(cores, 0, 100, where, resources.cores, "percent of a card")
    if memory is not None and percentage is not None:
        raise RequestDenied(
            f"{resources.memory} and {resources.memory_percentage} contradict each other",
            where=where,
            fix="keep one of them",
        )
    whole = memory is None and percentage is None
    return GpuRequest(
        container=container["name"],
        count=count,
        memory=None if memory is None else memory * names.MIB,
        percentage=percentage,
        # Who takes a whole card takes its compute as well; a share without cores uses what is idle.
        cores=cores if cores is not None else (100 if whole else 0),
    )


def _amounts(container: Object, where: str, resources: ResourceNames) -> dict[str, int]:
    """Whole numbers by resource name; limits count, requests fill in what limits leave out."""
    listed = container.get("resources") or {}
    amounts: dict[str, int] = {}
    for group in ("requests", "limits"):
        for name, text in (listed.get(group) or {}).items():
            if name in resources.all():
                amounts[name] = _whole(text, f"{where}.resources.{group}[{name}]")
    return amounts


def _whole(text: object, where: str) -> int:
    try:
        value = quantity.parse(str(text))
    except ValueError as problem:
        raise RequestDenied(str(problem), where=where, fix="write a whole number") from problem
    if value.denominator != 1:
        raise RequestDenied(f"{text} is not a whole number", where=where, fix="write a whole number")
    return int(value)


def _between(value: int, least: int, most: int | None, where: str, name: str, unit: str) -> None:
    if value < least or (most is not None and value > most):
        allowed = f"{least} to {most}" if most is not None else f"{least} or more"
        raise RequestDenied(
            f"{name} is {value}", where=where, fix=f"write {allowed} ({unit}), or leave it out"
        )

"""Pod -> GPU requests: what each container asks for by HAMi's resource names, checked. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hami_dra.admission.amounts import amounts
from hami_dra.admission.families import Family
from hami_dra.model.errors import RequestDenied

Object = dict[str, Any]

CONTAINER_LISTS = ("initContainers", "containers")

Runs = Literal["before", "beside", "main"]
"""When a container runs: an init container before the others, a sidecar beside them."""


@dataclass(frozen=True)
class GpuRequest:
    """What one container asks for on each of `count` distinct cards.

    `where`: the container's path in the Pod. `memory` in bytes; None: the whole card (or `percentage` of it,
    1..100). `cores` in percent of a card. `priority` and `cores_policy` are those of ShareParameters; None:
    not asked for. `named`: the same as it stands in the Pod, amounts by resource name.
    """

    family: Family
    container: str
    where: str
    runs: Runs = "main"
    count: int = 1
    memory: int | None = None
    percentage: int | None = None
    cores: int = 0
    priority: str | None = None
    cores_policy: str | None = None
    named: Mapping[str, int] = field(default_factory=dict, compare=False)


def requests_of(pod: Object, families: Sequence[Family]) -> list[GpuRequest]:
    """Return the GPU requests of a Pod, init containers first; empty when it asks for none.

    Raises RequestDenied for amounts that no card can satisfy and for contradictions.
    """
    refuse_ephemeral(pod, families)
    return list(_requests(pod, families))


def refuse_put_by_hand(pod: Object) -> None:
    """Raise RequestDenied when a new Pod, which asks for a share, names its node."""
    if pod["spec"].get("nodeName"):
        raise RequestDenied(
            "a Pod that is put on a node by hand never passes the scheduler, so no share is allocated for it",
            where="spec.nodeName",
            fix="Use spec.nodeSelector with kubernetes.io/hostname instead",
        )


def refuse_ephemeral(pod: Object, families: Sequence[Family]) -> None:
    """Raise RequestDenied when an ephemeral container names resources of ours: a Pod's claims are fixed."""
    for container in pod["spec"].get("ephemeralContainers") or []:
        for family in families:
            if names_any(container, family.resources.all):
                raise RequestDenied(
                    "an ephemeral container gets no share: the claims of a Pod are fixed when it is made",
                    where=f"spec.ephemeralContainers[{container.get('name', '?')}]",
                    fix="Leave its resources out; to look into a container's share, use kubectl exec",
                )


def names_any(container: Object, resources: Sequence[str]) -> bool:
    """Whether CONTAINER names one of RESOURCES, whatever the amount."""
    listed = container.get("resources") or {}
    return any(name in (listed.get(group) or {}) for group in ("limits", "requests") for name in resources)


def _requests(pod: Object, families: Sequence[Family]) -> Iterator[GpuRequest]:
    for group in CONTAINER_LISTS:
        for container in pod["spec"].get(group) or []:
            where = f"spec.{group}[{container.get('name', '?')}]"
            asked = [(family, named) for family in families if (named := amounts(container, where, family))]
            if len(asked) > 1:
                raise RequestDenied(
                    f"{' and '.join(next(iter(named)) for _, named in asked)} are of different accelerators",
                    where=where,
                    fix="No node has both: keep one",
                )
            for family, named in asked:
                yield _request(container, where, _runs(container, group), family, named)


def _runs(container: Object, group: str) -> Runs:
    if group == "containers":
        return "main"
    return "beside" if container.get("restartPolicy") == "Always" else "before"


def _request(container: Object, where: str, runs: Runs, family: Family, named: dict[str, int]) -> GpuRequest:
    resources = family.resources
    cores = named.get(resources.cores)
    cores = None if cores is None else -(-cores * 100 // family.cores_whole)
    memory = _memory(family, named.get(resources.memory), cores)
    percentage = named.get(resources.memory_percentage)
    count = named.get(resources.gpu) or 1
    if family.slices and resources.gpu in named:  # rounded down, so that all slices fit on their card
        count, cores = 1, count * 100 // family.slices
        percentage = cores if cores < 100 else None
    whole = memory is None and percentage is None
    priority = named.get(resources.priority)
    return GpuRequest(
        family=family,
        container=container["name"],
        where=where,
        runs=runs,
        count=count,
        memory=memory,
        percentage=percentage,
        # Who takes a whole card takes its compute as well; a share without cores uses what is idle.
        cores=cores if cores is not None else 100 if whole and family.cores_in_percent else 0,
        priority=None if priority is None else ("high", "low")[priority],
        cores_policy=_cores_policy(container),
        named=named,
    )


def _memory(family: Family, named: int | None, cores: int | None) -> int | None:
    """Bytes, None: the whole device. Where cores come with memory, as much as brings the cores (percent)."""
    memory = None if named is None else named * family.memory_unit
    if not family.core_sizes or not cores:
        return memory
    size = next((size for percent, size in family.core_sizes if percent >= cores), None)
    return None if size is None else max(memory or 0, size)


def _cores_policy(container: Object) -> str | None:
    """HAMi's GPU_CORE_UTILIZATION_POLICY: `disable` lets a container use compute beyond its cores."""
    for variable in reversed(container.get("env") or []):  # of several the last counts
        if variable.get("name") == "GPU_CORE_UTILIZATION_POLICY":
            return "soft" if str(variable.get("value", "")).lower() == "disable" else None
    return None

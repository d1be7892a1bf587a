"""Dynamic MIG: a card in MIG mode as every instance that it can be cut into, made when a claim has one.

What we made is noted in a file, before it is made. An instance that is not in it is an administrator's: a
card with one is published by its instances as it is (`nvidia_mig`), and never touched.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from ctypes import byref, c_uint
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pynvml
import structlog

from hami_dra.devices import nvml
from hami_dra.devices.nvidia_mig import Instance
from hami_dra.model.device import Attribute, Capacity, Device, Parts
from hami_dra.model.errors import DriverError
from hami_dra.model.names import MIB, MIG_TYPE

log = structlog.get_logger(__name__)


@dataclass(frozen=True, order=True)
class Place:
    """An instance that is there or could be: UUID of its card, NVML's id of its profile, its first slice."""

    card: str
    profile: int
    start: int


@dataclass(frozen=True)
class Partition:
    """What can be made in a place. `name` for example 1g.6gb; `size` slices of memory; `memory` in bytes;
    `kind` is NVML's number of the profile, for the compute instance as well."""

    place: Place
    name: str
    kind: int
    size: int
    memory: int


class Partitions:
    """Of the cards of one node. NOTE: the file that remembers what we made."""

    def __init__(self, note: Path) -> None:
        self._note = note

    def devices(self, handle: Any, card: Device, capacities: Any) -> list[Device] | None:
        """Every instance that CARD could be cut into; None when somebody else has cut it."""
        before = self._made()  # an instance of a claim that is given back meanwhile is in this one alone
        foreign = {place for place, _ in _existing(handle, card.uuid)} - before - self._made()
        if foreign:
            log.debug("card is left as somebody cut it", card=card.uuid, instances=len(foreign))
            return None
        possible = list(_possible(handle, card.uuid))
        total = max((each.place.start + each.size for each in possible), default=0)
        return [_device(card, each, total, capacities(each.memory)) for each in possible]

    def numbers(self, handle: Any, card: str) -> set[int]:
        """The GPU instances of the card that we made: each is one claim's, whoever cuts the card, too."""
        made = self._made()
        return {
            int(pynvml.nvmlGpuInstanceGetInfo(one).id)
            for place, one in _existing(handle, card)
            if place in made
        }

    def settle(self, handle: Any, card: str, wanted: Collection[Partition]) -> dict[Place, Exception]:
        """Make the card's instances those of WANTED, as far as they are ours. Returns what went wrong, by
        place; it keeps no other one. Raises NVMLError of a card that is gone."""
        made, keep = self._made(), {each.place for each in wanted}
        failed: dict[Place, Exception] = {}
        for place, instance in list(_existing(handle, card)):
            if place in made - keep:
                with _told(failed, place):
                    _destroy(instance)
                    log.info("MIG instance destroyed", card=card, profile=place.profile, start=place.start)
            elif place in keep - made:
                failed[place] = DriverError("an instance is there that is not ours")
        still = {place for place in made if place.card != card or place in failed}
        self._write(still | keep - failed.keys())
        there = dict(_existing(handle, card))
        for each in (each for each in wanted if each.place not in failed):
            with _told(failed, each.place):
                if each.place not in there or not _compute_instances(there[each.place]):
                    _make(handle, each, there.get(each.place))
                    log.info("MIG instance made", card=card, profile=each.name, start=each.place.start)
        return failed

    def _made(self) -> set[Place]:
        """None when the note is damaged, as after a power cut, which no instance outlives either."""
        try:
            return {Place(str(card), int(profile), int(start)) for card, profile, start in self._noted()}
        except (ValueError, TypeError) as problem:
            log.error("damaged note of MIG instances begun anew", note=str(self._note), error=str(problem))
            with suppress(OSError):  # it is told once
                self._note.unlink()
            return set()

    def _noted(self) -> Any:
        try:
            return json.loads(self._note.read_bytes())
        except FileNotFoundError:
            return ()
        except OSError as problem:
            raise DriverError(f"{self._note}: cannot be read: {problem}") from problem

    def _write(self, places: Collection[Place]) -> None:
        body = json.dumps([[place.card, place.profile, place.start] for place in sorted(places)])
        if self._note.is_file() and self._note.read_bytes() == body.encode():
            return
        self._note.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._note.with_name(f".{self._note.name}.tmp")
        temporary.write_text(body)
        temporary.rename(self._note)


@contextmanager
def _told(failed: dict[Place, Exception], place: Place) -> Iterator[None]:
    """Note for PLACE what the driver refuses in the block."""
    try:
        yield
    except pynvml.NVMLError as problem:
        failed[place] = problem


def instance(handle: Any, partition: Partition) -> Instance | None:
    """The numbers of what was made of PARTITION, as the driver's capabilities name them; None without it."""
    for place, made in _existing(handle, partition.place.card):
        if place == partition.place:
            return Instance(int(pynvml.nvmlGpuInstanceGetInfo(made).id), 0)
    return None


def _device(card: Device, partition: Partition, total: int, capacities: tuple[Capacity, ...]) -> Device:
    place = partition.place
    minor = card.attributes["minor"]
    uuid = f"{card.uuid}-{partition.name}-{place.start}"
    own: dict[str, Attribute] = {
        "dynamic": True,
        "parentUUID": card.uuid,
        "profile": partition.name,
        "type": MIG_TYPE,
        "uuid": uuid,
    }
    return Device(
        f"hami-mig-{minor}-{partition.name.replace('.', '-')}-{place.start}",
        uuid,
        {**card.attributes, **own},
        capacities,
        shared=False,
        detail=partition,
        parts=Parts(f"hami-gpu-{minor}", tuple(range(place.start, place.start + partition.size)), total),
    )


def _profiles(handle: Any) -> Iterator[tuple[int, Any]]:
    for kind in range(pynvml.NVML_GPU_INSTANCE_PROFILE_COUNT):
        try:
            yield kind, pynvml.nvmlDeviceGetGpuInstanceProfileInfo(handle, kind)
        except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_InvalidArgument):
            continue


def _possible(handle: Any, card: str) -> Iterator[Partition]:
    """Smallest first, so that a claim which says no profile leaves most to others. Those with media engines
    (`1g.6gb+me`) are left out: an administrator who wants them cuts them."""
    found = []
    for kind, info in _profiles(handle):
        name = nvml.text(info.name).removeprefix("MIG ")
        if "+" not in name:
            memory = int(info.memorySizeMB) * MIB
            for place in _placements(handle, info.id):
                found.append(Partition(Place(card, info.id, place.start), name, kind, place.size, memory))
    return iter(sorted(found, key=lambda each: (each.size, each.memory, each.kind, each.place)))


def _placements(handle: Any, profile: int) -> list[Any]:
    count = c_uint(0)
    pynvml.nvmlDeviceGetGpuInstancePossiblePlacements(handle, profile, None, byref(count))
    places = (pynvml.c_nvmlGpuInstancePlacement_t * count.value)()
    pynvml.nvmlDeviceGetGpuInstancePossiblePlacements(handle, profile, places, byref(count))
    return list(places[: count.value])


def _existing(handle: Any, card: str) -> Iterator[tuple[Place, Any]]:
    """The GPU instances that there are, with their handles."""
    for _, info in _profiles(handle):
        count = c_uint(int(info.instanceCount))
        found = (pynvml.c_nvmlGpuInstance_t * count.value)()
        pynvml.nvmlDeviceGetGpuInstances(handle, info.id, found, byref(count))
        for one in found[: count.value]:
            yield Place(card, info.id, pynvml.nvmlGpuInstanceGetInfo(one).placement.start), one


def _make(handle: Any, partition: Partition, made: Any | None) -> None:
    """A GPU instance (MADE, where a crash left one) with one compute instance of all of it."""
    if made is None:
        place = pynvml.c_nvmlGpuInstancePlacement_t(partition.place.start, partition.size)
        made = pynvml.nvmlDeviceCreateGpuInstanceWithPlacement(handle, partition.place.profile, byref(place))
    info = pynvml.nvmlGpuInstanceGetComputeInstanceProfileInfo(
        made, partition.kind, pynvml.NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED
    )
    pynvml.nvmlGpuInstanceCreateComputeInstance(made, info.id)


def _destroy(made: Any) -> None:
    for one in _compute_instances(made):
        pynvml.nvmlComputeInstanceDestroy(one)
    pynvml.nvmlGpuInstanceDestroy(made)


def _compute_instances(made: Any) -> list[Any]:
    every = []
    for kind in range(pynvml.NVML_COMPUTE_INSTANCE_PROFILE_COUNT):
        try:
            info = pynvml.nvmlGpuInstanceGetComputeInstanceProfileInfo(
                made, kind, pynvml.NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED
            )
        except (pynvml.NVMLError_NotSupported, pynvml.NVMLError_InvalidArgument):
            continue
        count = c_uint(int(info.instanceCount))
        found = (pynvml.c_nvmlComputeInstance_t * count.value)()
        pynvml.nvmlGpuInstanceGetComputeInstances(made, info.id, found, byref(count))
        every += found[: count.value]
    return every

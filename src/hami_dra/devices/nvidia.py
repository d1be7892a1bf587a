"""NVIDIA cards through NVML: libnvidia-ml.so.1 -> pynvml -> Device. Our limiter holds their shares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pynvml
import structlog

from hami_dra.devices import nvidia_edits, nvidia_mig, nvidia_partitions, nvidia_topology, nvml
from hami_dra.devices.backend import ClaimEdits, Edits, Grant, Problem, Usage
from hami_dra.devices.driver_root import DriverRoot
from hami_dra.devices.nvidia_health import IGNORED_XIDS, NvidiaHealth
from hami_dra.devices.nvidia_partitions import Partition, Partitions, Place
from hami_dra.devices.nvidia_readings import memory_info
from hami_dra.devices.vendor_cdi import VendorCdi
from hami_dra.model.device import CORES, MEMORY, Attribute, Capacity, Device, Version
from hami_dra.model.errors import DriverError
from hami_dra.model.names import DEVICE_TYPE, DRIVER, MIB

log = structlog.get_logger(__name__)

# Words as in the guide's ResourceSlice; numbers from nvml.h.
BRANDS = {
    1: "Quadro",
    2: "Tesla",
    3: "NVS",
    4: "Grid",
    5: "Geforce",
    6: "Titan",
    7: "NvidiaVApps",
    8: "NvidiaVPC",
    9: "NvidiaVCS",
    10: "NvidiaVWS",
    11: "NvidiaCloudGaming",
    12: "QuadroRTX",
    13: "NvidiaRTX",
    14: "Nvidia",
    15: "GeforceRTX",
    16: "TitanRTX",
}
ARCHITECTURES = {
    2: "Kepler",
    3: "Maxwell",
    4: "Pascal",
    5: "Volta",
    6: "Turing",
    7: "Ampere",
    8: "Ada Lovelace",
    9: "Hopper",
    10: "Blackwell",
}


class NvidiaBackend:
    """`Backend` for the cards of one driver root.

    CDI: folders with specifications of the NVIDIA toolkit, used where they have a card. SYSFS: folders to
    look for the PCI tree in, in order. IGNORED_XIDS: errors that leave a card well. SERIAL: publish
    serial numbers too. PARTITIONS: cut cards in MIG mode on demand, and remember in this file what was made.
    """

    driver = DRIVER
    limiter = True
    claim_wide = False

    def __init__(
        self,
        root: DriverRoot,
        *,
        cdi: Sequence[Path] = (),
        sysfs: tuple[Path, ...] = (),
        ignored_xids: Iterable[int] = IGNORED_XIDS,
        serial: bool = False,
        partitions: Path | None = None,
    ) -> None:
        self._root = root
        self._serial = serial
        self._partitions = Partitions(partitions) if partitions else None
        self._vendor = VendorCdi("nvidia.com/gpu", cdi)
        self._common: Edits | None = None
        self._silent: dict[int, str] = {}  # cards that the last look left out, and why
        self._health = NvidiaHealth(ignored_xids)
        self._sysfs = sysfs or (root.path / "sys", Path("/sys"))

    def discover(self) -> list[Device]:
        """See Backend. Of a card in MIG mode its instances: never both, for they have its memory.

        A card that NVML has no answer for (lost, without power, of an unknown kind) must not hide the others.
        """
        self._common = None
        found: list[Device] = []
        silent: dict[int, str] = {}
        with nvml.started(self._root):
            for index in range(pynvml.nvmlDeviceGetCount()):
                try:
                    found += list(self._devices(pynvml.nvmlDeviceGetHandleByIndex(index)))
                except nvml.GONE:
                    continue
                except pynvml.NVMLError as problem:
                    silent[index] = str(problem)
        if silent and not found:
            raise DriverError(f"NVML of {self._root.host} tells nothing of any card: {silent}")
        for index in silent.keys() - self._silent.keys():  # told once
            log.warning("card left out", index=index, error=silent[index])
        self._silent = silent
        return sorted(found, key=_order)

    def edits(self, grants: Sequence[Grant]) -> ClaimEdits:
        """See Backend: by reference to the toolkit's specification, else our own."""
        vendor, own = {}, {}
        for device, share in grants:
            minor, instance = _minor(device), device.detail
            if isinstance(instance, Partition):  # younger than the toolkit's specification
                own[share.key] = nvidia_edits.device(self._root, minor, self._made(device))
                if not nvidia_edits.complete(self._root, own[share.key]):
                    raise DriverError(f"{device.name} is made, and /dev/nvidia-caps has no node for it yet")
                continue
            number = nvidia_mig.NO_NUMBER if instance else minor
            name = self._vendor.device_for(device.uuid, number, f"/dev/nvidia{minor}")
            if name is None:
                own[share.key] = nvidia_edits.device(self._root, minor, instance)
            else:
                vendor[share.key] = (name,)
        return ClaimEdits(nvidia_edits.ALONE | (self._common_edits() if own else {}), own, vendor)

    def _common_edits(self) -> Edits:
        """Looked up once between two discoveries: a hundred places are searched."""
        if self._common is None:
            self._common = nvidia_edits.common(self._root)
        return self._common

    def settle(self, grants: Sequence[Grant], about: Sequence[Device]) -> None:
        """See Backend: MIG instances, where cards are cut on demand."""
        if self._partitions is None:
            return
        wanted: dict[str, list[Partition]] = {}
        for device, _ in grants:
            if isinstance(device.detail, Partition):
                wanted.setdefault(device.detail.place.card, []).append(device.detail)
        waiting = {device.detail.place for device in about if isinstance(device.detail, Partition)}
        failed: dict[Place, Exception] = {}
        # No other card: one that somebody else cuts by now is not known, and still has the instances of Pods.
        for card in sorted(wanted.keys() | {place.card for place in waiting}):
            try:
                failed |= self._cut(self._partitions, card, wanted.get(card, []))
            except DriverError as problem:
                places = waiting | {each.place for each in wanted.get(card, [])}
                failed |= {place: problem for place in places if place.card == card}
        for place in sorted(failed):
            log.warning("MIG instance is not as claims need it", **asdict(place), error=str(failed[place]))
        for place in sorted(failed.keys() & waiting):
            raise DriverError(f"MIG instance at slice {place.start} of {place.card}: {failed[place]}")

    def _cut(self, partitions: Partitions, card: str, wanted: Sequence[Partition]) -> dict[Place, Exception]:
        """What was on a card that is gone went with it, and keeps no Pod from ending; `edits` refuses it."""
        with nvml.started(self._root), suppress(pynvml.NVMLError_NotFound, *nvml.GONE):
            return partitions.settle(pynvml.nvmlDeviceGetHandleByUUID(card), card, wanted)
        return {}

    def _made(self, device: Device) -> nvidia_mig.Instance:
        with nvml.started(self._root):
            card = pynvml.nvmlDeviceGetHandleByUUID(device.detail.place.card)
            found = nvidia_partitions.instance(card, device.detail)
        if found is None:
            raise DriverError(f"{device.name} is not made: the driver shows no such MIG instance")
        return found

    def health(self, devices: Sequence[Device]) -> list[Problem]:
        """See Backend: events of the driver and what it says of each card (`nvidia_health`)."""
        cards = {device.detail.place.card for device in devices if isinstance(device.detail, Partition)}
        there = [device for device in devices if not isinstance(device.detail, Partition)]
        asked = [*there, *(Device(card, card, {}) for card in sorted(cards))]
        try:
            return [of for each in self._health.problems(asked) for of in _of_partitions(each, devices)]
        except pynvml.NVMLError as problem:
            self._health.close()
            raise DriverError(f"NVML of {self._root.host} failed: {problem}") from problem

    def usage(self, devices: Sequence[Device]) -> list[Usage]:
        """See Backend."""
        with nvml.started(self._root):
            return [_usage(device) for device in devices if not isinstance(device.detail, Partition)]

    def _devices(self, handle: Any) -> Iterator[Device]:
        card = self._device(handle)
        if not nvidia_mig.enabled(handle):
            yield card
            return
        offered = self._partitions.devices(handle, card, capacities) if self._partitions else None
        if offered is not None:
            yield from offered
            return
        ours = self._partitions.numbers(handle, card.uuid) if self._partitions else set()
        for found in nvidia_mig.instances(handle):
            if found.instance.gpu not in ours:
                yield nvidia_mig.device(card, found, capacities(found.memory))

    def _device(self, handle: Any) -> Device:
        minor = pynvml.nvmlDeviceGetMinorNumber(handle)
        uuid = nvml.text(pynvml.nvmlDeviceGetUUID(handle))
        pci = nvidia_topology.bus_id(nvml.text(pynvml.nvmlDeviceGetPciInfo(handle).busId))
        major, minor_capability = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        cuda = pynvml.nvmlSystemGetCudaDriverVersion()
        attributes: dict[str, Attribute] = {
            "architecture": ARCHITECTURES.get(pynvml.nvmlDeviceGetArchitecture(handle), "Unknown"),
            "brand": BRANDS.get(pynvml.nvmlDeviceGetBrand(handle), "Unknown"),
            "cudaComputeCapability": Version(f"{major}.{minor_capability}"),
            "cudaDriverVersion": Version(f"{cuda // 1000}.{cuda % 1000 // 10}"),
            "driverVersion": Version(nvml.text(pynvml.nvmlSystemGetDriverVersion())),
            "minor": minor,
            "pcieBusID": pci,
            "productName": nvml.text(pynvml.nvmlDeviceGetName(handle)),
            "type": DEVICE_TYPE,
            "uuid": uuid,
        }
        attributes |= nvidia_topology.attributes(handle, pci, self._sysfs, serial=self._serial)
        # The number of /dev/nvidia<minor> keeps the name stable over restarts.
        return Device(f"hami-gpu-{minor}", uuid, attributes, capacities(nvml.memory(handle).total))


def capacities(memory: int) -> tuple[Capacity, ...]:
    """What a card of MEMORY bytes offers.

    A claim that names no cores reserves none, so that claims by memory alone can share a card; one that names
    no memory takes all of it. Whole MiB, else the range's steps miss its end.
    """
    whole = memory // MIB * MIB
    return (
        Capacity(CORES, value=100, default=0),
        Capacity(MEMORY, value=whole, default=whole, least=MIB, step=MIB, in_bytes=True),
    )


def _of_partitions(problem: Problem, devices: Sequence[Device]) -> list[Problem]:
    """A card's problem is one of everything that it can be cut into."""
    cut = [
        device.name
        for device in devices
        if isinstance(device.detail, Partition) and device.detail.place.card == problem.device
    ]
    return [replace(problem, device=name) for name in cut] or [problem]


def _order(device: Device) -> tuple[int, tuple[int, ...]]:
    """By card, then by instance; of what could be cut the order stays, the smallest first."""
    found = device.detail
    return _minor(device), (found.gpu, found.compute) if isinstance(found, nvidia_mig.Instance) else ()


def _usage(device: Device) -> Usage:
    handle = pynvml.nvmlDeviceGetHandleByUUID(device.uuid)
    try:
        compute = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
    except pynvml.NVMLError:  # not on every card
        compute = None
    return Usage(device.name, memory_info(handle).used, compute)


def _minor(device: Device) -> int:
    minor = device.attributes["minor"]
    assert isinstance(minor, int)  # noqa: S101
    return minor

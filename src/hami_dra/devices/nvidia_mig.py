"""MIG: the instances that an administrator has cut a card into, each shared like a card of its own.

They are not cut here (NVIDIA's mig-parted does it): what NVML shows is published, with its profile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pynvml

from hami_dra.devices import nvml
from hami_dra.model.device import Attribute, Capacity, Device
from hami_dra.model.names import MIG_TYPE

NO_NUMBER = -1
"""The toolkit numbers instances `<card>:<instance>` in an order of its own: only their UUIDs count."""


@dataclass(frozen=True, order=True)
class Instance:
    """Numbers of the GPU instance and of its compute instance, as the driver's capabilities name them."""

    gpu: int
    compute: int


@dataclass(frozen=True)
class Found:
    """What NVML says of an instance; `profile` for example 1g.6gb, `memory` in bytes."""

    instance: Instance
    uuid: str
    profile: str
    memory: int


def enabled(handle: Any) -> bool:
    """Whether the card is in MIG mode."""
    try:
        current, _ = pynvml.nvmlDeviceGetMigMode(handle)
    except pynvml.NVMLError:  # no MIG on this card, or a driver too old to know it
        return False
    return bool(current == pynvml.NVML_DEVICE_MIG_ENABLE)


def instances(handle: Any) -> Iterator[Found]:
    """The instances of a card in MIG mode; none when it has not been cut yet."""
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            mig = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except pynvml.NVMLError_NotFound:  # the indices have gaps
            continue
        yield Found(
            Instance(pynvml.nvmlDeviceGetGpuInstanceId(mig), pynvml.nvmlDeviceGetComputeInstanceId(mig)),
            nvml.text(pynvml.nvmlDeviceGetUUID(mig)),
            # NVML has no call for the profile; its name ends with it: "NVIDIA A30 MIG 1g.6gb".
            nvml.text(pynvml.nvmlDeviceGetName(mig)).rpartition(" MIG ")[2],
            nvml.memory(mig).total,
        )


def device(card: Device, found: Found, capacities: tuple[Capacity, ...]) -> Device:
    """An instance of CARD as a device: what holds for the card holds for it, but for these."""
    own: dict[str, Attribute] = {
        "parentUUID": card.uuid,
        "profile": found.profile,
        "type": MIG_TYPE,
        "uuid": found.uuid,
    }
    name = f"hami-mig-{card.attributes['minor']}-{found.instance.gpu}-{found.instance.compute}"
    return Device(name, found.uuid, {**card.attributes, **own}, capacities, detail=found.instance)

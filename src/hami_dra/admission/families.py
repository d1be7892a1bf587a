"""Families of accelerators as users ask for them: resource names, annotations, and the class behind.

A family is data: to add one, write a `Family` and list it in `Settings.families`. No other module knows one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from hami_dra.devices.profile import Profile
from hami_dra.model import names, quantity
from hami_dra.model.device import CORES, MEMORY


@dataclass(frozen=True)
class ResourceNames:
    """Extended resources that stand for a share; empty: the family has no such resource."""

    gpu: str
    memory: str = ""
    memory_percentage: str = ""
    cores: str = ""
    priority: str = ""

    @cached_property
    def all(self) -> tuple[str, ...]:
        """Every name that is taken out of a converted container."""
        listed = (self.gpu, self.memory, self.memory_percentage, self.cores, self.priority)
        return tuple(name for name in listed if name)


@dataclass(frozen=True)
class Annotations:
    """Annotations of a Pod that choose cards; empty: the family has no such annotation."""

    use_type: str = ""
    nouse_type: str = ""
    use_uuid: str = ""
    nouse_uuid: str = ""
    numa_bind: str = ""
    mode: str = ""

    @cached_property
    def all(self) -> tuple[str, ...]:
        """Every annotation that bears on the choice of a card."""
        listed = (self.use_type, self.nouse_type, self.use_uuid, self.nouse_uuid, self.numa_bind, self.mode)
        return tuple(name for name in listed if name)


@dataclass(frozen=True)
class Family:
    """`driver` is the domain of the cards' attributes, `device_type` the value of their attribute `type`.

    `request` names the request in a claim; `memory_unit` is one unit of the memory resource, in bytes.
    `product`: the resources mean only devices with this in their product name, and without `not_product`.
    `cores_in_percent` False: the cores are counted, and a request without an amount takes all of a device.
    `cores_whole`: so many of the cores resource are a whole device. `core_sizes`: cores come with memory
    alone; (percent, bytes that bring as much) ascending, and what is above the last takes the whole device.
    `slices`: so many of the gpu resource are one device, 0: each is a device.
    `capacities`: what a claim can ask for of a device, by name.
    `parameters`: its claims may carry ShareParameters.
    `mapped`: its DeviceClass may name the gpu resource (extendedResourceName): Kubernetes itself serves it.
    """

    name: str
    resources: ResourceNames
    annotations: Annotations
    driver: str = names.DRIVER
    device_type: str = names.DEVICE_TYPE
    device_class: str = names.DRIVER
    request: str = names.REQUEST
    memory_unit: int = names.MIB
    product: str = ""
    not_product: str = ""
    cores_in_percent: bool = True
    capacities: tuple[str, ...] = (CORES, MEMORY)
    cores_whole: int = 100
    core_sizes: tuple[tuple[int, int], ...] = ()
    slices: int = 0
    parameters: bool = False
    mapped: bool = False

    @property
    def counts_cores(self) -> bool:
        """Whether a claim names cores: the devices have such a capacity."""
        return bool(self.resources.cores) and not self.core_sizes


NVIDIA = Family(
    name="nvidia",
    resources=ResourceNames(*names.NVIDIA_RESOURCES),
    annotations=Annotations(
        use_type="nvidia.com/use-gputype",
        nouse_type="nvidia.com/nouse-gputype",
        use_uuid="nvidia.com/use-gpuuuid",
        nouse_uuid="nvidia.com/nouse-gpuuuid",
        numa_bind="nvidia.com/numa-bind",
        mode="nvidia.com/vgpu-mode",
    ),
    parameters=True,
    mapped=True,
)

MIG = replace(
    NVIDIA,
    name="mig",
    resources=ResourceNames(gpu=""),
    annotations=Annotations(),
    device_type=names.MIG_TYPE,
    device_class=names.MIG_CLASS,
)
"""Instances of cards in MIG mode: native claims ask for them, no resource of a Pod does."""


def of_profiles(profiles: Iterable[Profile]) -> tuple[Family, ...]:
    """The families that profiles describe: one for each row of their resources."""
    return tuple(family for profile in profiles for family in _rows(profile))


def _rows(profile: Profile) -> Iterable[Family]:
    chosen = profile.annotations
    cores = profile.capacities.get(CORES)
    for row in profile.resources:
        yield Family(
            name=profile.family,
            resources=ResourceNames(row.count, row.memory, row.memory_percentage, row.cores),
            annotations=Annotations(
                chosen.use_type,
                chosen.nouse_type,
                row.use_uuid or chosen.use_uuid,
                row.nouse_uuid or chosen.nouse_uuid,
            ),
            driver=profile.driver,
            device_type=f"hami-{profile.family}",
            device_class=profile.driver,
            request=profile.family,
            memory_unit=quantity.parse_int(row.memory_unit),
            product=row.product,
            not_product=row.not_product,
            cores_in_percent=cores is None or cores.value == 100,
            capacities=tuple(profile.capacities),
            cores_whole=row.cores_whole,
            core_sizes=tuple(
                (percent, quantity.parse_int(size)) for percent, size in sorted(row.core_sizes.items())
            ),
            slices=row.slices,
        )

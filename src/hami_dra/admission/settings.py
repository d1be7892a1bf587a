"""What an operator has set -> `Settings`: for the webhook itself, and for who asks what it would do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from hami_dra.admission.families import NVIDIA, Family, ResourceNames, of_profiles
from hami_dra.devices import families
from hami_dra.model.errors import UserError


@dataclass(frozen=True)
class Settings:
    """What an operator sets for admission.

    `extended_resource`: Pods that name whole cards alone are left to Kubernetes' own mapping (KEP-5004).
    """

    families: tuple[Family, ...] = (NVIDIA,)
    extended_resource: bool = False


def chosen(
    resources: ResourceNames,
    device_class: str,
    wanted: Iterable[str],
    profiles: Path | None,
    *,
    extended_resource: bool,
) -> tuple[Settings, list[UserError]]:
    """RESOURCES and DEVICE_CLASS are NVIDIA's; WANTED: names of families, NVIDIA's too; PROFILES: a folder.

    Also returns why profiles were refused: the other families are served all the same.
    """
    listed = [name for each in wanted if (name := each.strip())]
    nvidia = replace(NVIDIA, resources=resources, device_class=device_class)
    first = [nvidia] if families.NVIDIA in listed else []
    good, refused = families.profiles([name for name in listed if name != families.NVIDIA], profiles)
    return Settings((*first, *of_profiles(good)), extended_resource), refused

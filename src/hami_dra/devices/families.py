"""Which families there are: NVIDIA's own backend, the profiles that we ship, and those of the operator.

A profile of the operator is a file `<family>.yaml` in a folder; it takes the place of ours of that name.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hami_dra.devices.backend import Backend
from hami_dra.devices.generic import GenericBackend
from hami_dra.devices.host import Host
from hami_dra.devices.profile import Profile
from hami_dra.devices.profile_file import load
from hami_dra.model.errors import UserError

NVIDIA = "nvidia"

_SHIPPED = Path(__file__).parent / "profiles"


def known(own: Path | None = None) -> list[str]:
    """Families that there is a profile for, of ours or in the operator's folder OWN."""
    folders = [_SHIPPED, *([own] if own else [])]
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})


def profiles(names: Iterable[str], own: Path | None = None) -> tuple[list[Profile], list[UserError]]:
    """The profiles of these families, and why the others are refused: one bad file stops no other family."""
    good: list[Profile] = []
    refused: list[UserError] = []
    for name in names:
        try:
            good.append(load(_file(name, own)))
        except UserError as problem:
            refused.append(problem)
    return good, refused


def backends(found: Iterable[Profile], host: Host) -> list[Backend]:
    """A backend for each profile."""
    return [GenericBackend(profile, host) for profile in found]


def _file(name: str, own: Path | None) -> Path:
    folders = [folder for folder in (own, _SHIPPED) if folder is not None]
    for folder in folders:
        path = folder / f"{name}.yaml"
        if path.is_file():
            return path
    looked = " and ".join(str(folder) for folder in folders)
    raise UserError(
        f"there is no profile {name}.yaml (looked in {looked})",
        where=f"family {name}",
        fix=f"Known are {NVIDIA}, {', '.join(known(own))}",
    )

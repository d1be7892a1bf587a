"""The contract of a family of accelerators: what node, admission and observe may ask of it, and no more.

A family is one DRA driver with one DeviceClass of the same name. `docs/backends.md` says how to write one;
`tests/conformance` holds what every backend must pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from hami_dra.model.device import Device
from hami_dra.model.share import Share

Edits = dict[str, Any]
"""`containerEdits` of the CDI specification."""

Grant = tuple[Device, Share]
"""A share of a claim, with the device that it is a share of."""


@dataclass(frozen=True)
class ClaimEdits:
    """What the containers of one claim get.

    `common`: once, whichever of the claim's devices a container uses. `shares`: by `Share.key`, for that
    share alone. `vendor`: by `Share.key`, names of devices in the vendor's own CDI specifications
    (`nvidia.com/gpu=0`) that come before ours.
    """

    common: Edits = field(default_factory=dict)
    shares: Mapping[str, Edits] = field(default_factory=dict)
    vendor: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


LOST = "lost"
"""Key of the problem that a device cannot be had at all."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a device now. `key` is one word for a taint and metrics (`lost`, `xid`); `fatal`:
    no new share should land on it."""

    device: str
    key: str
    message: str
    value: str = ""
    fatal: bool = True


@dataclass(frozen=True)
class Usage:
    """What the family's own tools say that a device uses now; None where they do not say.

    `memory` in bytes, `compute` 0..1.
    """

    device: str
    memory: int | None = None
    compute: float | None = None


class Backend(Protocol):
    """One family of accelerators on this host."""

    @property
    def driver(self) -> str:
        """DRA driver and DeviceClass, for example `ascend.project-hami.io`; also the attributes' domain."""
        ...

    @property
    def limiter(self) -> bool:
        """Are shares held by our limiter (preload, limits, ledger)? They have `memory` and `cores` then."""
        ...

    @property
    def claim_wide(self) -> bool:
        """Do the edits of a share depend on the others of its claim? Claims that share a container are then
        described together, as if they were one."""
        ...

    def discover(self) -> list[Device]:
        """Return the devices of this host, in a stable order, packed first to last; errors.DriverError."""
        ...

    def settle(self, grants: Sequence[Grant], about: Sequence[Device]) -> None:
        """Make devices that are made on demand those that GRANTS, all of this node, need, and no others.

        Called before `edits` and at an unprepare, again and again. DriverError when it cannot be for ABOUT,
        the devices of the claims that wait for it; what fails elsewhere on the node is told in the log.
        Nothing to do for devices that are simply there.
        """
        ...

    def edits(self, grants: Sequence[Grant]) -> ClaimEdits:
        """Return what the containers of a claim with these shares get. Pure but for looking at the host."""
        ...

    def health(self, devices: Sequence[Device]) -> list[Problem]:
        """Return what is wrong with DEVICES (as `discover` returned them) now; empty when all are well."""
        ...

    def usage(self, devices: Sequence[Device]) -> list[Usage]:
        """Return what DEVICES use now; empty when the family has no way to tell."""
        ...

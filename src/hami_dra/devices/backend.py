"""What the node plugin asks of a family of accelerators."""

from __future__ import annotations

from typing import Any, Protocol

from hami_dra.model.device import Device

Edits = dict[str, Any]
"""`containerEdits` of the CDI specification."""


class Backend(Protocol):
    """One family of accelerators on this host."""

    def discover(self) -> list[Device]:
        """Return the cards that can be shared, in a stable order; errors.DriverError."""
        ...

    def cdi_kind(self) -> str:
        """Kind of the vendor's own CDI specification, for example `nvidia.com/gpu`."""
        ...

    def common_edits(self) -> Edits:
        """What every container with a card gets: libraries, programs, control nodes."""
        ...

    def device_edits(self, device: Device) -> Edits:
        """What a container gets for this card only."""
        ...

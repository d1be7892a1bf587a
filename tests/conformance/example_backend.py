"""The smallest backend there can be: start a family that a profile cannot describe from a copy of this.

Two cards with 8 GiB each, shared by memory. `docs/backends.md` explains each part.
"""

from __future__ import annotations

from collections.abc import Sequence

from hami_dra.devices.backend import ClaimEdits, Grant, Problem, Usage
from hami_dra.model.device import MEMORY, Capacity, Device
from hami_dra.model.names import MIB


class ExampleBackend:
    """`devices.backend.Backend`."""

    driver = "example.project-hami.io"
    limiter = False
    claim_wide = True

    def discover(self) -> list[Device]:
        """The numbers of the device nodes keep names stable over restarts."""
        whole = 8192 * MIB
        memory = Capacity(MEMORY, value=whole, default=whole, least=MIB, step=MIB, in_bytes=True)
        return [
            Device(
                name=f"example-{number}",
                uuid=f"EXAMPLE-{number}",
                attributes={
                    "type": "hami-example",
                    "uuid": f"EXAMPLE-{number}",
                    "productName": "Example card",
                },
                capacities=(memory,),
                detail=number,
            )
            for number in range(2)
        ]

    def settle(self, grants: Sequence[Grant], about: Sequence[Device]) -> None:
        """These devices are simply there."""

    def edits(self, grants: Sequence[Grant]) -> ClaimEdits:
        """Device nodes for each share, variables once for the claim."""
        numbers = dict.fromkeys(str(device.detail) for device, _ in grants)
        return ClaimEdits(
            common={"env": [f"EXAMPLE_VISIBLE_DEVICES={','.join(numbers)}"]},
            shares={
                share.key: {"deviceNodes": [{"path": f"/dev/example{device.detail}"}]}
                for device, share in grants
            },
        )

    def health(self, devices: Sequence[Device]) -> list[Problem]:
        """All are well."""
        return []

    def usage(self, devices: Sequence[Device]) -> list[Usage]:
        """There is no way to tell."""
        return []

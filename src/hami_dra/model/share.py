"""A share: one allocation result of a claim, with one budget and one folder on the node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from hami_dra.model.device import CORES, MEMORY
from hami_dra.model.parameters import DEFAULTS, ShareParameters


@dataclass(frozen=True)
class Share:
    """What one allocation result grants.

    `consumed`: amounts by capacity; of `memory` bytes, of `cores` percent of the device (0: none reserved).
    `units`: by capacity, the numbers of the units that are this share's own (see `device.Capacity.units`).
    `share_id` is empty for a device that is not shared.
    """

    share_id: str
    request: str
    pool: str
    device: str
    uuid: str
    consumed: Mapping[str, int]
    units: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    parameters: ShareParameters = DEFAULTS

    @property
    def key(self) -> str:
        """Tells the shares of one claim apart; a device that is not shared comes once in a claim."""
        return f"{self.device}-{self.share_id}" if self.share_id else self.device

    @property
    def limited(self) -> bool:
        """False: the DeviceClass trusts its Pods, and the container gets the card as it is."""
        return self.parameters.enforcement != "none"

    def limits(self) -> str:
        """Content of the share's `limits` file (docs/interfaces.md)."""
        lines: dict[str, int | str] = {
            "version": 1,
            "share": self.share_id,
            "device": self.uuid,
            "memory": self.consumed[MEMORY],
            "cores": self.consumed[CORES],
            "priority": 0 if self.parameters.priority == "high" else 1,
            "cores_policy": self.parameters.cores_policy,
            "oversubscribe": int(self.parameters.memory_oversubscription),
        }
        if self.parameters.log_level is not None:
            lines["log_level"] = self.parameters.log_level
        if not self.limited:
            lines["enforcement"] = "none"
        return "".join(f"{key}={value}\n" for key, value in lines.items())


@dataclass(frozen=True)
class PreparedClaim:
    """A claim and its shares on this node: what the checkpoint remembers.

    `together`: uids of the claims that the same containers use, see `node.together`.
    """

    uid: str
    namespace: str
    name: str
    shares: tuple[Share, ...]
    together: tuple[str, ...] = ()

    def part(self, request: str) -> PreparedClaim:
        """The claim as a container sees it that uses one REQUEST of it."""
        return replace(self, shares=tuple(share for share in self.shares if share.request == request))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PreparedClaim:
        """Read its fields from JSON; keys of later versions are ignored, those of earlier ones have defaults.

        KeyError, TypeError, AttributeError: damaged.
        """
        shares, together = tuple(map(_share, data["shares"])), tuple(map(str, data.get("together", ())))
        return cls(data["uid"], data["namespace"], data["name"], shares, together)


def _share(data: dict[str, Any]) -> Share:
    known = {name: data[name] for name in ("share_id", "request", "pool", "device", "uuid")}
    # The first release kept `memory` and `cores` beside each other.
    amounts = data["consumed"] if "consumed" in data else {name: data[name] for name in (MEMORY, CORES)}
    consumed = {str(name): int(amount) for name, amount in amounts.items()}
    units = {str(name): tuple(map(int, numbers)) for name, numbers in data.get("units", {}).items()}
    given = data.get("parameters", {})
    parameters = {each.name: given[each.name] for each in fields(ShareParameters) if each.name in given}
    return Share(**known, consumed=consumed, units=units, parameters=ShareParameters(**parameters))

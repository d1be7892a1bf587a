"""A share: one allocation result of a claim, with one budget and one folder on the node."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from hami_dra.model.parameters import DEFAULTS, ShareParameters


@dataclass(frozen=True)
class Share:
    """What one allocation result grants. `memory` in bytes, `cores` in percent of the card (0: none)."""

    share_id: str
    request: str
    pool: str
    device: str
    uuid: str
    memory: int
    cores: int
    parameters: ShareParameters = DEFAULTS

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
            "memory": self.memory,
            "cores": self.cores,
            "priority": 0 if self.parameters.priority == "high" else 1,
            "cores_policy": self.parameters.cores_policy,
            "oversubscribe": int(self.parameters.memory_oversubscription),
        }
        if self.parameters.log_level is not None:
            lines["log_level"] = self.parameters.log_level
        return "".join(f"{key}={value}\n" for key, value in lines.items())


@dataclass(frozen=True)
class PreparedClaim:
    """A claim and its shares on this node: what the checkpoint remembers."""

    uid: str
    namespace: str
    name: str
    shares: tuple[Share, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for the checkpoint."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PreparedClaim:
        """Read what `to_json` wrote; keys of later versions are ignored, those of earlier ones have defaults.

        KeyError, TypeError, AttributeError: damaged.
        """
        return cls(data["uid"], data["namespace"], data["name"], tuple(map(_share, data["shares"])))


def _share(data: dict[str, Any]) -> Share:
    known = {each.name: data[each.name] for each in fields(Share) if each.name != "parameters"}
    given = data.get("parameters", {})
    parameters = {each.name: given[each.name] for each in fields(ShareParameters) if each.name in given}
    return Share(**known, parameters=ShareParameters(**parameters))

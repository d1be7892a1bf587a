"""A share: one allocation result of a claim, with one budget and one folder on the node."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


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

    def limits(self) -> str:
        """Content of the share's `limits` file (docs/interfaces.md)."""
        lines = {
            "version": 1,
            "share": self.share_id,
            "device": self.uuid,
            "memory": self.memory,
            "cores": self.cores,
        }
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
        """Read what `to_json` wrote; keys of later versions are ignored. KeyError, TypeError: damaged."""
        fields = ("share_id", "request", "pool", "device", "uuid", "memory", "cores")
        shares = tuple(Share(**{key: entry[key] for key in fields}) for entry in data["shares"])
        return cls(data["uid"], data["namespace"], data["name"], shares)

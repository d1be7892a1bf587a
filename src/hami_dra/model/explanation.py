"""What is looked at to say why a Pod waits, and what is said."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from hami_dra.model import names
from hami_dra.model.room import Room, Wish, wishes

Object = dict[str, Any]


@dataclass(frozen=True)
class Explanation:
    """`waiting` tells whether the Pod waits at all; `next` is the command to run next.

    `reason` is the cause in one CamelCase word: few in number, so that it can label a metric.
    """

    waiting: bool
    sentence: str
    next: str = ""
    reason: str = "Other"


@dataclass(frozen=True)
class View:
    """The objects that bear on one Pod. ROOM: that of the slices and claims, where it is known already.

    RESOURCES: the extended resources that admission makes claims of, those of all families. LABELS: of the
    nodes that the plugin is to run on, as a label selector. SYSTEM: the namespace of the release. CLOSED:
    what is published may not be read.
    """

    pod: Object
    claims: list[Object]
    events: list[Object]
    slices: list[Object]
    all_claims: list[Object]
    nodes: list[Object]
    classes: list[Object]
    room: Room | None = None
    resources: Collection[str] = names.NVIDIA_RESOURCES
    labels: str = names.NODE_LABELS
    system: str = names.NAMESPACE
    closed: bool = False

    @property
    def open_claims(self) -> list[Object]:
        """Its claims for which nothing is allocated yet."""
        return [claim for claim in self.claims if not (claim.get("status") or {}).get("allocation")]

    @property
    def open_requests(self) -> list[tuple[Wish, ...]]:
        """What these ask for: of each request its alternatives."""
        return [alternatives for claim in self.open_claims for alternatives in wishes(claim)]


Cause = Callable[[View, str], Explanation | None]
"""Says why the Pod of that name waits if it is for this cause, else None."""


def waits(reason: str, sentence: str, command: str) -> Explanation:
    """The Pod waits for REASON; COMMAND is the next to run."""
    return Explanation(True, sentence, command, reason)


def room_of(view: View) -> Room:
    """What the cards have, and have left."""
    assert view.room is not None  # noqa: S101 - explain found it
    return view.room

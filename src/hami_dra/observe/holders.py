"""Who holds which share: kubelet's grants -> the labels of a share. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Grant:
    """One share that a container was given, as kubelet tells it. CLAIM is in the Pod's namespace."""

    namespace: str
    pod: str
    container: str
    claim: str
    device: str
    share_id: str


@dataclass(frozen=True)
class Holder:
    """Labels of a share. INDEX counts the shares of a container; all empty while nobody holds the share."""

    namespace: str = ""
    pod: str = ""
    container: str = ""
    index: str = ""


NOBODY = Holder()


def by_share(grants: Iterable[Grant]) -> Mapping[str, Holder]:
    """The holder of each share, by share id.

    Several containers on one claim draw on one budget, which must not be counted once for each: their share
    keeps one row of labels, with the names joined (`trainer,logger`).
    """
    ordered = sorted(set(grants))
    index: dict[Grant, int] = {}
    seen: dict[tuple[str, str, str], int] = {}
    for grant in ordered:
        container = (grant.namespace, grant.pod, grant.container)
        index[grant] = seen.get(container, 0)
        seen[container] = index[grant] + 1
    shares: dict[str, list[Grant]] = {}
    for grant in ordered:
        shares.setdefault(grant.share_id, []).append(grant)
    return {
        share_id: Holder(
            namespace=of[0].namespace,
            pod=_joined(grant.pod for grant in of),
            container=_joined(grant.container for grant in of),
            index=str(index[of[0]]),
        )
        for share_id, of in shares.items()
    }


def _joined(names: Iterable[str]) -> str:
    return ",".join(sorted(set(names)))

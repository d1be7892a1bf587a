"""The checks of the limit on computing."""

from __future__ import annotations

from collections.abc import Iterator

from tests.gpu.finding import Finding
from tests.gpu.host import Container, Host, part
from tests.support.agent import at_work

KINDS = ("tiny", "long", "sync", "graph", "cooperative", "varying", "streams")


def pairs(host: Host) -> Iterator[Finding]:
    """Two containers that both want all of the card, with the agent and without."""
    for kinds in (
        ("graph", "graph"),
        ("tiny", "long"),
        ("long", "graph"),
        ("6ms", "tiny"),
        ("varying", "long"),
        ("2ms", "sync"),
    ):
        free = sum(at_once(host, (None, kinds[0]), (None, kinds[1])))
        with at_work(host.shares):
            one, other = pair(host, *kinds)
        found = f"{kinds[0]} {one:.3f} : {kinds[1]} {other:.3f} = {other / one:.2f}"
        if "sync" in kinds:  # which cannot have all that it may
            yield Finding(one < 0.33, "no more than 0.30 + 0.03", found)
            continue
        yield Finding(2.21 < other / one < 2.45, "2.33 +- 5 %", found)
        used = f"{one + other:.3f} of the card used, without limits {free:.3f}"
        yield Finding(one + other > 0.95 * free, "0.95 of what is used without limits", used)
    yield Finding(None, "used without the agent", f"{sum(pair(host, 'graph', 'graph')):.3f}")
    if host.peer:
        with host.peer_container("small", cores=30) as small, host.peer_container("large", cores=70) as large:
            one, other = at_once(host, (small, "graph"), (large, "graph"))
        yield Finding(None, "the peer's", f"{one:.3f} : {other:.3f} = {other / one:.2f}")


def pair(host: Host, small_kind: str, large_kind: str) -> tuple[float, float]:
    """What containers with 30 and 70 get at the same time."""
    with host.share("small", cores=30) as small, host.share("large", cores=70) as large:
        return at_once(host, (small, small_kind), (large, large_kind))


def at_once(host: Host, *work: tuple[Container | None, str]) -> tuple[float, float]:
    """The parts of the card that two programs get which compute at the same time."""
    for _, kind in work:
        host.length(kind)  # while nobody else computes
    programs = [host.work(container, kind, host.seconds) for container, kind in work]
    return part(programs[0]), part(programs[1])


def cores(host: Host) -> Iterator[Finding]:
    """Every kind of work at every limit; work that waits for its results cannot have all of a card."""
    for kind in KINDS:
        host.length(kind)
        most = 100 * part(host.work(None, kind, host.seconds))
        for limit in host.limits:
            with host.share("one", cores=limit) as share:
                got = 100 * part(host.work(share, kind, host.seconds))
            expected = f"{limit} +- 2 %" if limit < most else f"{most:.1f} +- 2 %, as without a limit"
            yield Finding(abs(got - min(limit, most)) <= 2, expected, f"{kind} {got:.1f} %")
        if host.peer:
            with host.peer_container("one", cores=50) as peer:
                got = 100 * part(host.work(peer, kind, host.seconds))
            yield Finding(None, "the peer's at 50", f"{kind} {got:.1f} %")

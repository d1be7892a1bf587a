"""Which init container uses a share in turn with another container, instead of holding one of its own. Pure.

The init containers of a Pod run one after the other, before its main containers: what they hold is idle for
the rest of the Pod's life. Kubernetes lets containers name the same claim, so an init container uses the
share of a container that runs after it, or of another init container, when that share has at least what it
asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

from hami_dra.admission.request import GpuRequest


def lenders(requests: Sequence[GpuRequest]) -> dict[str, str]:
    """Container -> container whose share it uses; containers that hold their own are left out."""
    found: dict[str, str] = {}
    before = [request for request in requests if request.runs == "before"]
    main = [request for request in requests if request.runs == "main"]
    for request in before:
        for other in (*main, *before):
            if other is not request and other.container not in found and covers(other, request):
                found[request.container] = other.container
                break
    return {borrower: _holder(found, lender) for borrower, lender in found.items()}


def _holder(found: dict[str, str], lender: str) -> str:
    """LENDER itself, or whose share it came to use; a share that covers a share covers what that covers."""
    while lender in found:
        lender = found[lender]
    return lender


def covers(share: GpuRequest, asked: GpuRequest) -> bool:
    """Whether SHARE has at least what ASKED names, of the same cards and with the same rights."""
    same = ("family", "count", "priority", "cores_policy")
    if any(getattr(share, name) != getattr(asked, name) for name in same):
        return False
    return _memory_covers(share, asked) and _cores_cover(share.cores, asked.cores)


def _memory_covers(share: GpuRequest, asked: GpuRequest) -> bool:
    """An amount covers amounts, a percentage percentages; how the two compare depends on the card."""
    if share.memory is not None:
        return asked.memory is not None and share.memory >= asked.memory
    if asked.memory is not None:
        return False
    return (share.percentage or 100) >= (asked.percentage or 100)


def _cores_cover(share: int, asked: int) -> bool:
    """Who reserved nothing may use all that is idle: only a whole card, or no bound at all, gives as much."""
    if asked == 0:
        return share in (0, 100)
    return share >= asked

"""How soon a running program feels what the node decides: a changed limit, a tenant of higher priority."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Iterator

from tests.bench.frame import OURS, Bench, Row, Share, calls, finish
from tests.bench.subjects.limiter_cores import agent

TICK_NS = 200_000
SLOW_NS = 40_000_000
"""Further apart than this are the ends of two ticks only where a share is all but stopped."""


def rows(bench: Bench) -> Iterator[Row]:
    """Limits up and down, then the priority."""
    times = 20 if bench.full else 5
    for what, before, after in (("raised", 1, 100), ("lowered", 100, 1)):
        took = [changed(bench, before, after) for _ in range(times)]
        yield Row(f"a limit that is {what} on the node holds, worst of {times}", "50 ms", "-", worst(took))
    took = [interrupted(bench) for _ in range(times)]
    yield Row(f"high priority interrupts low, worst of {times}", "100 ms", "-", worst(took))


def changed(bench: Bench, before: int, after: int) -> float:
    """Milliseconds from the new limits file until the program goes by it."""
    with bench.share(cores=before) as share:
        program = ticking(bench, share)
        time.sleep(0.5)
        at = time.monotonic_ns()
        share.change(cores=after)
        time.sleep(0.5)
        return (first_fast if after > before else last_fast)(ends(program), at)


def interrupted(bench: Bench) -> float:
    """Milliseconds from the first work of a high priority until a low one all but stops."""
    with bench.share(cores=50) as low, bench.share(cores=50, priority=0) as high, agent(low, high):
        first = ticking(bench, low)
        time.sleep(0.5)
        second = ticking(bench, high)
        time.sleep(0.7)
        begin = ends(second)[0]
        return last_fast(ends(first), begin)


def ticking(bench: Bench, share: Share) -> subprocess.Popen[str]:
    """Start work of 0.2 ms, one after the other."""
    program = bench.start(OURS, share, calls(), "ticks", str(TICK_NS))
    assert program.stdout
    assert program.stdout.readline() == "ticking\n"
    return program


def ends(program: subprocess.Popen[str]) -> list[int]:
    """Stop it; when each piece of its work ended."""
    return [int(word) for word in finish(program).split()]


def first_fast(times: list[int], at: int) -> float:
    """Milliseconds from AT until two ends follow each other closely; a second when none do."""
    for one, other in itertools.pairwise(times):
        if one > at and other - one < SLOW_NS:
            return (one - at) / 1e6
    return 1000.0


def last_fast(times: list[int], at: int) -> float:
    """Milliseconds from AT until the next end is far away; 0 when it was before AT."""
    for one, other in zip(times, [*times[1:], times[-1] + 10 * SLOW_NS], strict=True):
        if one > at and other - one >= SLOW_NS:
            return (one - at) / 1e6
    return 0.0


def worst(took: list[float]) -> str:
    """As text."""
    return f"{max(took):.0f} ms"

"""Whether the memory limit holds in a storm, and how soon memory comes back from the killed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from tests.bench.frame import GIB, OURS, PEER, Bench, Row, Share, calls, finish, percentile

MIB = 1 << 20
CONTEXT = 256 * MIB


def rows(bench: Bench) -> Iterator[Row]:
    """Overshoot with many processes; recovery from SIGKILL."""
    yield overshoot(bench, 64 if bench.full else 24, 1_000_000 if bench.full else 3000)
    yield recovery(bench, 200 if bench.full else 20)


def overshoot(bench: Bench, processes: int, count: int) -> Row:
    """The most that the driver ever held beyond the limit, as the simulated driver's oracle knows it."""
    memory = processes * CONTEXT + 1 * GIB
    over = {}
    for group, variant in enumerate(bench.variants[1:], 1):
        with bench.share(memory=memory) as share:
            storm = [
                bench.start(variant, share, calls(), "storm", str(count), str(64 * MIB), group=group)
                for _ in range(processes)
            ]
            for each in storm:
                with contextlib.suppress(RuntimeError):  # refused its context: also a way to keep the limit
                    finish(each, timeout=3600)
            over[variant] = f"{max(0, bench.most_held(group) - memory) / MIB:.1f} MiB of {memory / MIB:.0f}"
    what = f"overshoot, {processes} processes x {count} allocations"
    return Row(what, "0", "-", over[OURS], over.get(PEER, ""))


def recovery(bench: Bench, times: int) -> Row:
    """From SIGKILL of a process that holds nearly all until another one has the memory."""
    took: dict[str, list[float]] = {variant: [] for variant in bench.variants[1:]}
    for variant, values in took.items():
        for _ in range(times):
            with bench.share(memory=4 * GIB) as share:
                values.append(one_recovery(bench, variant, share))
    told = {
        variant: f"{percentile(values, 50):.1f} / {max(values):.1f} ms" for variant, values in took.items()
    }
    what = f"memory of a killed process is usable, median / worst of {times}"
    return Row(what, "10 ms", "-", told[OURS], told.get(PEER, ""))


def one_recovery(bench: Bench, variant: str, share: Share) -> float:
    """Milliseconds; a minute when it never came back."""
    holder = bench.start(variant, share, calls(), "hold", str(3 * GIB))
    assert holder.stdout
    while "held" not in holder.stdout.readline():
        pass
    waiter = bench.start(variant, share, calls(), "until", str(3 * GIB))
    assert waiter.stdout
    while "trying" not in waiter.stdout.readline():
        pass
    time.sleep(0.02)
    killed = time.monotonic_ns()
    holder.kill()
    holder.communicate()
    try:
        return (int(finish(waiter, timeout=60)) - killed) / 1e6
    except Exception:
        waiter.kill()
        waiter.communicate()
        return 60_000.0

"""What the node's agent takes of a core to watch the shares of eight cards."""

from __future__ import annotations

import os
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hami_dra.model import ledger
from hami_dra.node.arbiter_loop import ROUND_S, Arbiter
from tests.bench.frame import Bench, Row

CARDS, SHARES = 8, 200
_COMPUTE_AT = 32


def rows(bench: Bench) -> Iterator[Row]:
    """All idle, some at work, all at work."""
    seconds = 10.0 if bench.full else 3.0
    for working, pauses in ((0, False), (32, False), (SHARES, False), (SHARES, True)):
        part = watching(working, seconds, pauses=pauses)
        how = ", with pauses" if pauses else ""
        what = f"agent, {SHARES} shares on {CARDS} cards, {working} compute{how}: part of a core"
        yield Row(what, "", "-", f"{100 * part:.1f} %")


def watching(working: int, seconds: float, *, pauses: bool) -> float:
    """A round's time on the processor, over that and the pause after it, as `Arbiter.run` makes them.

    Not over all the time that passed: on a busy machine rounds are late, and would seem cheap.
    """
    with tempfile.TemporaryDirectory() as folder:
        descriptors = [make(Path(folder), number) for number in range(SHARES)]
        arbiter = Arbiter(Path(folder))
        took, rounds, begin = 0.0, 0, time.monotonic()
        while time.monotonic() < begin + seconds:
            for number, descriptor in enumerate(descriptors[:working]):
                compute(descriptor, time.monotonic_ns(), number if pauses else None)
            before = time.thread_time()
            arbiter.look(time.monotonic_ns())
            took, rounds = took + time.thread_time() - before, rounds + 1
            time.sleep(ROUND_S)
        arbiter.close()
        for descriptor in descriptors:
            os.close(descriptor)
        return took / (took + rounds * ROUND_S)


def make(folder: Path, number: int) -> int:
    """A share of one of the cards; its open ledger."""
    own = folder / f"share-{number}"
    own.mkdir()
    (own / "ledger").write_bytes(bytes(ledger.SIZE))
    (own / "limits").write_text(
        f"version=1\nshare={own.name}\ndevice=GPU-{number % CARDS}\nmemory=1073741824\ncores=4\n"
    )
    return os.open(own / "ledger", os.O_RDWR)


def compute(descriptor: int, now: int, turn: int | None) -> None:
    """What limiters write while their programs compute a part of each millisecond; with a TURN, for 21 ms of
    each 35 ms, begun in turn."""
    ring, last = [0] * ledger.PRESENCE_BINS, now >> ledger.PRESENCE_SHIFT
    for bin_ in range(last - ledger.PRESENCE_BINS // 2, last):
        if turn is None or (bin_ // 7 + turn) % 5 < 3:
            ring[bin_ % ledger.PRESENCE_BINS] = bin_ << ledger.PRESENCE_SHIFT | 400
    os.pwrite(descriptor, struct.pack(f"<{len(ring)}Q", *ring), ledger.PRESENCE_AT)
    os.pwrite(descriptor, struct.pack("<Q", now), ledger.ACTIVITY_AT)
    os.pwrite(descriptor, struct.pack("<Q", now), _COMPUTE_AT)

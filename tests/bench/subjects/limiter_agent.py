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
    for working in (0, 32, SHARES):
        part = watching(working, seconds)
        what = f"agent, {SHARES} shares on {CARDS} cards, {working} compute: part of a core"
        yield Row(what, "", "-", f"{100 * part:.1f} %")


def watching(working: int, seconds: float) -> float:
    """Rounds as the agent makes them; a round's time on the processor, over the time between two.

    Not over all the time that passed: on a busy machine rounds are late, and would seem cheap.
    """
    with tempfile.TemporaryDirectory() as folder:
        descriptors = [make(Path(folder), number) for number in range(SHARES)]
        arbiter = Arbiter(Path(folder))
        took, rounds, begin = 0.0, 0, time.monotonic()
        while (now := time.monotonic()) < begin + seconds:
            for descriptor in descriptors[:working]:
                compute(descriptor, time.monotonic_ns())
            before = time.thread_time()
            arbiter.look(time.monotonic_ns())
            took, rounds = took + time.thread_time() - before, rounds + 1
            time.sleep(max(0.0, now + ROUND_S - time.monotonic()))
        arbiter.close()
        for descriptor in descriptors:
            os.close(descriptor)
        return took / rounds / ROUND_S


def make(folder: Path, number: int) -> int:
    """A share of one of the cards; its open ledger."""
    own = folder / f"share-{number}"
    own.mkdir()
    (own / "ledger").write_bytes(bytes(ledger.SIZE))
    (own / "limits").write_text(
        f"version=1\nshare={own.name}\ndevice=GPU-{number % CARDS}\nmemory=1073741824\ncores=4\n"
    )
    return os.open(own / "ledger", os.O_RDWR)


def compute(descriptor: int, now: int) -> None:
    """What limiters write while their programs compute a part of each millisecond."""
    last = now >> ledger.PRESENCE_SHIFT
    for bin_ in range(last - round(ROUND_S * 1000), last):
        word = struct.pack("<Q", bin_ << ledger.PRESENCE_SHIFT | 400)
        os.pwrite(descriptor, word, ledger.PRESENCE_AT + 8 * (bin_ % ledger.PRESENCE_BINS))
    os.pwrite(descriptor, struct.pack("<Q", now), ledger.ACTIVITY_AT)
    os.pwrite(descriptor, struct.pack("<Q", now), _COMPUTE_AT)

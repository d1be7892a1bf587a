"""The node's agent, which tells the shares of a card of each other, beside a test's containers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hami_dra.node.arbiter import plan
from hami_dra.node.arbiter_loop import Arbiter, Planner


@contextmanager
def at_work(shares: Path, planner: Planner = plan) -> Iterator[None]:
    """Rounds over the shares in a folder until the end of the block; PLANNER in place of its own plan."""
    arbiter, stop = Arbiter(shares, planner), threading.Event()
    thread = threading.Thread(target=arbiter.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        arbiter.close()

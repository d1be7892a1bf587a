"""One lock around the state on disk, for the threads of this process and for another plugin process."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hami_dra.model.errors import StateError

_SOON_S, _LATER_S = 0.0005, 0.02


class StateLock:
    """Exclusive. The kernel lets go of the file when its holder dies, whatever killed it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = threading.Lock()

    @contextmanager
    def held(self, end: float) -> Iterator[None]:
        """Hold the lock; StateError when it is not free by END (time.monotonic)."""
        if not self._threads.acquire(timeout=max(0.0, end - time.monotonic())):
            raise self._busy("another call of this plugin")
        try:
            with open(self._path, "a") as file:
                wait = _SOON_S
                while not _try(file.fileno()):
                    if time.monotonic() >= end:
                        raise self._busy("another plugin process")
                    time.sleep(wait)
                    wait = min(wait * 2, _LATER_S)
                yield
        finally:
            self._threads.release()

    def _busy(self, who: str) -> StateError:
        return StateError(f"{who} holds {self._path} too long; kubelet will ask again")


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

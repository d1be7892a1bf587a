"""The controller's queue: each key at most once, and again later, with growing pauses, when it failed."""

from __future__ import annotations

import heapq
import threading
import time
from collections import OrderedDict

from hami_dra.kube.cache import Key

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 60.0


class WorkQueue:
    """Filled and emptied by any threads; a key is worked on by one of them at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ready: OrderedDict[Key, None] = OrderedDict()
        self._later: list[tuple[float, Key]] = []
        self._failures: dict[Key, int] = {}
        self._busy: set[Key] = set()

    def add(self, key: Key, after_s: float = 0.0) -> None:
        """Work on KEY as soon as its turn comes; after the work on it that is under way, if there is any."""
        with self._changed:
            if after_s:
                heapq.heappush(self._later, (time.monotonic() + after_s, key))
            else:
                self._ready[key] = None
            self._changed.notify()

    def retry(self, key: Key) -> None:
        """End the work on KEY, and begin it again after a pause that doubles with each failure."""
        with self._changed:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            pause = min(FIRST_PAUSE_S * 2 ** min(failures - 1, 20), LONGEST_PAUSE_S)
            heapq.heappush(self._later, (time.monotonic() + pause, key))
            self._end(key)

    def done(self, key: Key) -> None:
        """KEY has succeeded, or is gone: its next failure is a first one."""
        with self._changed:
            self._failures.pop(key, None)
            self._end(key)

    def get(self, timeout_s: float) -> Key | None:
        """Return the next key, to be ended by `done` or `retry`; None when none is due within TIMEOUT_S."""
        end = time.monotonic() + timeout_s
        with self._changed:
            while True:
                now = time.monotonic()
                while self._later and self._later[0][0] <= now:
                    self._ready[heapq.heappop(self._later)[1]] = None
                key = next((key for key in self._ready if key not in self._busy), None)
                if key is not None:
                    del self._ready[key]
                    self._busy.add(key)
                    return key
                if now >= end:
                    return None
                due = self._later[0][0] if self._later else end
                self._changed.wait(min(due, end) - now)

    def _end(self, key: Key) -> None:
        self._busy.discard(key)
        # Somebody may wait for what was added meanwhile, or for an earlier pause.
        self._changed.notify()

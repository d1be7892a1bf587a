"""The edge of the arbiter: ledgers -> activities -> (plan) -> hints, forty times a second.

Ledgers are read with pread and written with pwrite: a container can truncate its own, and a mapping would
then end the plugin. One that its container has a lease on is not waited for (O_NONBLOCK). Nothing here takes
a lock, and a workload waits for nothing here: an old hint is ignored.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from hami_dra.model import ledger
from hami_dra.node.arbiter import Word, plan, quiet_word
from hami_dra.node.own_time import Activity

log = structlog.get_logger(__name__)

ROUND_S = 0.025
IDLE_ROUNDS = 3
"""A share that does nothing is looked at in every third round, one of high priority in each."""
SCAN_ROUNDS = 16
"""Rounds between two looks at the folders: shares come and go, limits change."""
REFRESH_NS = 200_000_000
"""Age at which a hint is written again, well before it is too old to be believed."""
WINDOW_BINS = 48
"""Bins of counted work, of 2 ms, that are looked at, with the bins of presence in them."""
LATE_NS = 4_000_000
"""So far back limiters may not have written all yet."""
LARGEST = 1 << 20
"""Bytes of the disk that a ledger is left, whatever a file system sets aside by itself."""

NOTHING = Activity(cores=0)
"""Of a share whose limits were not read yet."""

Planner = Callable[[dict[str, Activity]], dict[str, Word]]


@dataclass
class Watched:
    """One share: its open ledger, its limits and the counters of the last round."""

    name: str
    folder: str
    descriptor: int
    inode: int
    device: str = ""
    limits: Activity = NOTHING
    limits_stamp: tuple[int, int] = (0, 0)
    activity: bytes = b""
    throttled_ns: int = 0
    quiet: bool = True
    said: Word | None = None
    said_at: int = 0


class Arbiter:
    """All shares of a node. `look` is one round; `run` makes rounds until told to stop."""

    def __init__(self, folder: Path, planner: Planner = plan) -> None:
        self._folder = folder
        self._plan = planner
        self._watched: dict[str, Watched] = {}
        self._busy: dict[str, Watched] = {}
        self._turns: list[list[Watched]] = [[] for _ in range(IDLE_ROUNDS)]
        self._round = 0

    def run(self, stop: threading.Event) -> None:
        """Make rounds until STOP is set."""
        while not stop.wait(ROUND_S):
            self.look(time.monotonic_ns())

    def close(self) -> None:
        """Let go of all ledgers."""
        for name in list(self._watched):
            self._drop(name)

    def look(self, now: int) -> None:
        """One round at NOW, in ns of CLOCK_MONOTONIC."""
        if self._round % SCAN_ROUNDS == 0:
            self._scan(now)
        self._round += 1
        cards: dict[str, list[Watched]] = defaultdict(list)
        for share in self._busy.values():
            cards[share.device].append(share)
        for shares in cards.values():
            words = self._plan({share.name: _lately(share, now) for share in shares})
            for name, word in words.items():
                share = self._watched[name]
                if word != share.said or now - share.said_at > REFRESH_NS:
                    _say(share, word, now)
        for share in [share for share in self._busy.values() if share.quiet]:
            del self._busy[share.name]
        for share in self._turns[self._round % IDLE_ROUNDS]:
            if share.quiet and _stirs(share):
                share.quiet = False
                self._busy[share.name] = share

    def _scan(self, now: int) -> None:
        names = set(_names(self._folder))
        for name in self._watched.keys() - names:
            self._drop(name)
        cards: dict[str, list[Watched]] = defaultdict(list)
        for name in names:
            try:
                share = self._watched.get(name)
                if share is None or _replaced(share):
                    share = self._open(name)
                _cut_to_size(share)
                _read_limits(share)
            except (OSError, ValueError):  # half made, half removed or unusable: seen again at the next scan
                self._drop(name)
            else:
                cards[share.device].append(share)
        self._turns = [[] for _ in range(IDLE_ROUNDS)]
        for shares in cards.values():
            self._watch(shares, now)

    def _watch(self, shares: list[Watched], now: int) -> None:
        """Look at the shares of one card from now on, unless there is but one, without cores.

        It needs no word; with cores it does, as its own processes have their slices of the card in turn.
        """
        free = len(shares) == 1 and not shares[0].limits.cores
        for share in shares:
            word = Word() if free else quiet_word(share.limits)
            if free:
                self._busy.pop(share.name, None)
                share.quiet = True
            if share.quiet and word != share.said and (share.said or word != Word()):
                _say(share, word, now)
        for turn in range(0 if free else IDLE_ROUNDS):
            self._turns[turn] += [
                share for share in shares if share.limits.high or share.descriptor % IDLE_ROUNDS == turn
            ]

    def _open(self, name: str) -> Watched:
        self._drop(name)
        folder = f"{self._folder}/{name}"
        descriptor = os.open(f"{folder}/ledger", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        share = self._watched[name] = Watched(name, folder, descriptor, os.fstat(descriptor).st_ino)
        return share

    def _drop(self, name: str) -> None:
        self._busy.pop(name, None)
        share = self._watched.pop(name, None)
        if share:
            os.close(share.descriptor)


def _replaced(share: Watched) -> bool:
    """Whether its ledger is another file by now: made anew for one that was damaged, or the share itself was.
    While the old one is open, no new one gets its number."""
    return os.stat(f"{share.folder}/ledger").st_ino != share.inode


def _cut_to_size(share: Watched) -> None:
    """Take away what its container has written, or set aside, behind the end of its ledger.

    It is the one file of the host that a container can write. Nobody else would count what it holds of the
    node's disk, not even kubelet.
    """
    status = os.fstat(share.descriptor)
    if status.st_size > ledger.SIZE or status.st_blocks * 512 > LARGEST:
        os.ftruncate(share.descriptor, ledger.SIZE)
        log.warning("a container has written more than a ledger into its ledger: cut", share=share.name)


def _stirs(share: Watched) -> bool:
    """Whether any counter has changed since the last time. Never fails: an open file can be read."""
    activity = os.pread(share.descriptor, 8, ledger.ACTIVITY_AT)
    changed, share.activity = activity != share.activity, activity
    return changed


def _lately(share: Watched, now: int) -> Activity:
    """What a busy share did in the last moments."""
    try:
        data = os.pread(share.descriptor, ledger.RINGS_END, 0)
        throttled_ns = ledger.header(data).throttled_ns
        counted, presence = ledger.rings(data, now - LATE_NS, WINDOW_BINS)
    except ValueError:  # damaged by its own container: as if it did nothing
        share.quiet = True
        return share.limits
    limits, waiting = share.limits, throttled_ns > share.throttled_ns
    share.throttled_ns = throttled_ns
    share.quiet = not counted and not presence and not _stirs(share)
    return Activity(limits.cores, limits.soft, limits.high, counted, presence, waiting)


def _names(folder: Path) -> Iterable[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if not entry.name.startswith(".")]
    except FileNotFoundError:
        return []


def _read_limits(share: Watched) -> None:
    path = f"{share.folder}/limits"
    status = os.stat(path)
    stamp = (status.st_ino, status.st_mtime_ns)
    if stamp == share.limits_stamp:
        return
    text = Path(path).read_text()
    given = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    share.device = given.get("device", "").lower()
    share.limits = Activity(
        cores=int(given.get("cores", "0")),
        soft=given.get("cores_policy") == "soft",
        high=given.get("priority") == "0",
    )
    share.limits_stamp = stamp


def _say(share: Watched, word: Word, now: int) -> None:
    with suppress(OSError):  # a full disk, where the container has cut its ledger short
        os.pwrite(share.descriptor, ledger.Hint(now, word.rate, word.part).pack(), ledger.HINT_AT)
    share.said, share.said_at = word, now

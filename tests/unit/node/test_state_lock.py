"""The lock around the state: one holder among threads and processes, and nobody waits beyond his time."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hami_dra.model.errors import StateError
from hami_dra.node.state_lock import StateLock

HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print(flush=True)
time.sleep(60)
"""


def test_another_process_is_waited_for_in_vain_until_it_dies(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = StateLock(path)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        soon = time.monotonic() + 0.1
        with pytest.raises(StateError, match="another plugin process holds"), lock.held(soon):
            pass
        holder.kill()
    with lock.held(time.monotonic() + 5):
        pass


def test_while_it_is_held_another_process_gets_no_lock_of_any_kind(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with (
        StateLock(path).held(time.monotonic() + 5),
        open(path) as other,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_thread_that_holds_it_too_long_is_not_waited_for(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "lock")
    done, inside = threading.Event(), threading.Event()

    def hold() -> None:
        with lock.held(time.monotonic() + 1):
            inside.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    assert inside.wait(60)
    with pytest.raises(StateError, match="another call of this plugin"), lock.held(time.monotonic() + 0.05):
        pass
    done.set()
    thread.join()


def test_only_one_thread_is_inside(tmp_path: Path) -> None:
    lock, inside, most = StateLock(tmp_path / "lock"), [0], [0]

    def enter() -> None:
        for _ in range(20):
            with lock.held(time.monotonic() + 20):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.0005)
                inside[0] -= 1

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]

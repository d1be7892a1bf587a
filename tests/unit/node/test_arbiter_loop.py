import ctypes
import fcntl
import os
import signal
import struct
from pathlib import Path

import pytest

from hami_dra.model import ledger
from hami_dra.model.share import Share
from hami_dra.node.arbiter_loop import SCAN_ROUNDS, Arbiter
from hami_dra.node.shares import ShareFolders
from hami_dra.observe import ledgers

MS = 1_000_000
ROUND = 25 * MS


def share_of(name, cores=50):
    return Share(name, "gpu", "node", "hami-gpu-0", "GPU-1", {"memory": 1 << 30, "cores": cores})


def compute(folder, now, processes=1):
    """Write what a limiter would whose processes compute all the time: presence until NOW."""
    path = folder / "ledger"
    data = bytearray(path.read_bytes())
    data[0:8] = ledger.MAGIC.to_bytes(8, "little")
    data[16:20] = (1).to_bytes(4, "little")
    last = now >> ledger.PRESENCE_SHIFT
    for number in range(max(0, last - 200), last + 1):
        at = ledger.PRESENCE_AT + 8 * (number % ledger.PRESENCE_BINS)
        struct.pack_into("<Q", data, at, number << ledger.PRESENCE_SHIFT | 1024 * processes)
    struct.pack_into("<Q", data, ledger.ACTIVITY_AT, now)
    path.write_bytes(data)


def said(folder):
    return ledger.hint((folder / "ledger").read_bytes())


def make(tmp_path, *ids, cores=50):
    folders = ShareFolders(tmp_path)
    for each in ids:
        folders.write(share_of(each, cores))
    return [folders.path(each) for each in ids], Arbiter(tmp_path / "shares"), folders


def test_two_containers_that_compute_all_the_time_are_told_that_half_is_theirs(tmp_path):
    (one, two), arbiter, _ = make(tmp_path, "one", "two")
    for turn in range(1, 40):
        compute(one, turn * ROUND)
        compute(two, turn * ROUND)
        arbiter.look(turn * ROUND)
    assert 460 <= said(one).part <= 480  # less what the card loses by switching
    assert said(two).at == 39 * ROUND or 39 * ROUND - said(two).at < 500 * MS
    arbiter.close()


def test_a_share_that_stops_is_forgotten_within_half_a_second(tmp_path):
    (one, two), arbiter, _ = make(tmp_path, "one", "two")
    for turn in range(1, 60):
        compute(one, turn * ROUND)
        if turn < 40:
            compute(two, turn * ROUND)
        arbiter.look(turn * ROUND)
    assert said(one).part > 980
    arbiter.close()


def test_a_ledger_that_its_container_has_ruined_disturbs_nobody(tmp_path):
    (one, two), arbiter, _ = make(tmp_path, "one", "two")
    arbiter.look(ROUND)
    (two / "ledger").write_bytes(b"\xff" * 30)
    for turn in range(2, 30):
        compute(one, turn * ROUND)
        arbiter.look(turn * ROUND)
    assert said(one).at > 0
    arbiter.close()


def grown(ledger_file):
    os.truncate(ledger_file, 1 << 40)


def filled(ledger_file):
    """Room that is set aside behind the end of a file shows in no size."""
    keep_size, libc = 1, ctypes.CDLL(None, use_errno=True)
    with ledger_file.open("r+b") as file:
        length = ctypes.c_long(64 << 20)
        assert libc.fallocate(file.fileno(), keep_size, ctypes.c_long(0), length) == 0, ctypes.get_errno()


@pytest.mark.parametrize("by", [grown, filled])
def test_a_container_cannot_keep_more_of_the_nodes_disk_than_its_ledger(tmp_path, by):
    (_, two), arbiter, _ = make(tmp_path, "one", "two")
    arbiter.look(ROUND)
    compute(two, ROUND)
    before = (two / "ledger").read_bytes()
    by(two / "ledger")
    for turn in range(2, 2 + SCAN_ROUNDS):
        arbiter.look(turn * ROUND)
    status = (two / "ledger").stat()
    assert status.st_size == ledger.SIZE
    assert status.st_blocks * 512 < 1 << 20
    assert (two / "ledger").read_bytes()[ledger.EXCESS_COUNT_AT :] == before[ledger.EXCESS_COUNT_AT :]
    arbiter.close()


def test_a_container_that_has_a_lease_on_its_ledger_holds_nobody_up(tmp_path):
    """Who opens a file that somebody has a lease on waits for 45 s."""
    (_, two), arbiter, _ = make(tmp_path, "one", "two")
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    with (two / "ledger").open("r+b") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with pytest.raises(BlockingIOError):
            ledgers.read(two / "ledger")
        with pytest.raises(BlockingIOError):
            ledgers.book(two / "ledger", [])
        arbiter.look(ROUND)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    signal.signal(signal.SIGIO, before)
    assert said(two).at == 0
    for turn in range(2, 2 + SCAN_ROUNDS):
        arbiter.look(turn * ROUND)
    assert said(two).part == 1000
    arbiter.close()


def test_processes_of_the_only_share_of_a_card_are_told_of_each_other(tmp_path):
    (one,), arbiter, _ = make(tmp_path, "one")
    for turn in range(1, 40):
        compute(one, turn * ROUND, processes=3)
        arbiter.look(turn * ROUND)
    assert 300 <= said(one).part <= 320
    arbiter.close()


def test_the_only_share_of_a_card_is_left_alone_when_it_has_no_cores(tmp_path):
    (one,), arbiter, _ = make(tmp_path, "one", cores=0)
    for turn in range(1, 40):
        compute(one, turn * ROUND)
        arbiter.look(turn * ROUND)
    assert said(one).at == 0
    arbiter.close()


def test_shares_that_come_and_go_are_noticed(tmp_path):
    (one, two), arbiter, folders = make(tmp_path, "one", "two", cores=0)
    arbiter.look(ROUND)
    assert said(one).part == 1000
    folders.remove("two")
    for turn in range(2, 2 + SCAN_ROUNDS):
        arbiter.look(turn * ROUND)
    assert said(one).part == 0
    assert not two.exists()
    arbiter.close()


def remade(folders, folder):
    folders.remove(folder.name)
    folders.write(share_of(folder.name))


def replaced(folders, folder):
    (folder / "ledger").write_bytes(b"\xff" * 30)
    folders.write(share_of(folder.name))


@pytest.mark.parametrize("anew", [remade, replaced])
def test_a_ledger_that_is_made_anew_is_the_one_that_is_read_and_written(tmp_path, anew):
    """By a claim that is unprepared and prepared again between two looks, or in place of a damaged one."""
    (one, two), arbiter, folders = make(tmp_path, "one", "two")
    for turn in range(1, 40):
        if turn == 20:
            anew(folders, two)
        compute(one, turn * ROUND)
        compute(two, turn * ROUND)
        arbiter.look(turn * ROUND)
    assert said(one).part < 500
    assert 39 * ROUND - said(two).at < 500 * MS
    arbiter.close()


def test_ledgers_that_are_made_anew_leave_no_descriptor_behind(tmp_path):
    (_, two), arbiter, folders = make(tmp_path, "one", "two")
    for turn in range(1, 10 * SCAN_ROUNDS):
        if turn % SCAN_ROUNDS == 0:
            remade(folders, two)
        arbiter.look(turn * ROUND)
    links = [Path(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd")]
    open_here = [link.readlink() for link in links if link.is_symlink()]
    assert sorted(path.parent.name for path in open_here if path.is_relative_to(tmp_path)) == ["one", "two"]
    arbiter.close()

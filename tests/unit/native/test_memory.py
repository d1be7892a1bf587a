"""The limiter against the simulated driver's oracle.

What processes hold of a card never passes their share, at any instant and by any way to allocate; and
limiters that are wrong on purpose are found out.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from hami_dra import native_files
from hami_dra.model import ledger
from hami_dra.observe import ledgers
from tests.unit.native.in_share import CALLS, UUID, booked, each_time_told, ends, oracle
from tests.unit.native.simulated import A10, BUILD, attempts

pytestmark = pytest.mark.native

LIMIT = 4 << 30
CONTEXT = 256 << 20
TO_HOPPER = ('computeCapability: "8.6"', 'computeCapability: "9.0"')
KINDS = (  # as in storm.c
    "plain",
    "managed",
    "pitched",
    "async",
    "pool",
    "managed_pool",
    "mapping",
    "exported",
    "multicast",
    "array",
    "mipmap",
    "external",
    "graph",
    "context",
    "green",
    "module",
    "library",
)


@dataclass
class Outcome:
    """Of a storm: the most that was held at any instant, and what is held and counted when all is freed."""

    most: int
    held: int
    counted: int
    refused: int


@pytest.fixture
def storm(programs: Path, tmp_path: Path):
    """Processes of one share that allocate and free as fast as they can."""
    watchdogs: list[threading.Timer] = []
    runs = itertools.count()

    def run(
        *kinds: str,
        limiter: Path | None = None,
        processes: int = 4,
        limit: int = LIMIT,
        seconds: float = 0.4,
        **environment: str,
    ) -> Outcome:
        folder = tmp_path / str(next(runs))
        share = folder / "shares" / "one"
        share.mkdir(parents=True)
        (share / "limits").write_text(f"version=1\nshare=one\ndevice={UUID}\nmemory={limit}\n")
        (share / "ledger").write_bytes(bytes(ledger.SIZE))
        card = folder / "gpus.yaml"  # one that can multicast
        card.write_text(A10.read_text().replace(*TO_HOPPER))
        started = [
            subprocess.Popen(
                [str(programs / "storm"), str(seconds), str(seed), *kinds],
                env={
                    "PATH": os.environ["PATH"],
                    "LD_LIBRARY_PATH": str(BUILD),
                    "LD_PRELOAD": str(limiter or native_files.find("libvgpu.so")),
                    "HAMI_SIM_FILE": str(card),
                    "HAMI_SIM_STATE": str(folder / "state"),
                    "HAMI_SHARES_DIR": str(folder / "shares"),
                    **environment,
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for seed in range(1, processes + 1)
        ]
        watchdog = threading.Timer(240, lambda: [process.kill() for process in started])
        watchdogs.append(watchdog)
        watchdog.start()
        for process in started:
            assert process.stdout
            assert process.stdin
            assert process.stdout.readline() == "ready\n"
        for process in started:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        refused = 0
        for process in started:
            assert process.stdout
            assert process.stderr
            said = process.stdout.readline()
            assert said.startswith("granted"), process.stderr.read()
            refused += int(said.split()[-1])
            assert process.stdout.readline() == "idle\n"
        said = oracle(programs, folder / "state")
        counted = booked(share.parent, share.name)
        for process in started:
            _, errors = process.communicate()
            assert (process.returncode, errors) == (0, "")
        return Outcome(said[0], said[-1], counted, refused)

    yield run
    for watchdog in watchdogs:
        watchdog.cancel()


@pytest.mark.parametrize("kind", KINDS)
def test_each_way_to_allocate_is_held_to_the_share_and_gives_back_exactly_what_it_took(storm, kind) -> None:
    outcome = storm(kind)
    assert outcome.most <= LIMIT
    assert outcome.counted == outcome.held == 4 * CONTEXT


@pytest.mark.parametrize("kind", ["module", "library"])
def test_code_that_is_loaded_at_once_is_charged_when_it_is_loaded(storm, kind) -> None:
    outcome = storm(kind, "plain", CUDA_MODULE_LOADING="EAGER")
    assert outcome.most <= LIMIT
    assert outcome.counted == outcome.held == 4 * CONTEXT


def test_all_ways_at_once_never_pass_the_share_by_a_byte_and_leave_nothing_behind(storm) -> None:
    outcomes = attempts(
        lambda: storm(seconds=1), lambda one: one.refused > 0 and one.most > LIMIT - (256 << 20)
    )
    assert all(outcome.most <= LIMIT for outcome in outcomes)
    assert all(outcome.counted == outcome.held == 4 * CONTEXT for outcome in outcomes)
    assert outcomes[-1].most > LIMIT - (256 << 20)
    assert outcomes[-1].refused > 0


def test_threads_of_one_process_never_pass_its_share_and_leave_nothing_behind(storm) -> None:
    """But for code, whose size is only known by what the process holds before and after."""
    kinds = [kind for kind in KINDS if kind not in ("module", "library")]
    outcome = storm(*kinds, processes=2, seconds=1, STORM_THREADS="4")
    assert outcome.most <= LIMIT
    assert outcome.counted == outcome.held == 2 * CONTEXT


def test_64_processes_never_pass_their_share_together(storm) -> None:
    def full(outcome: Outcome) -> bool:
        return outcome.most > 19 << 30

    outcomes = attempts(lambda: storm(processes=64, limit=20 << 30, seconds=2), full)
    assert full(outcomes[-1])
    for outcome in outcomes:
        assert outcome.most <= 20 << 30
        assert outcome.counted == outcome.held == 64 * CONTEXT


def test_what_the_driver_refuses_is_given_back(storm) -> None:
    outcome = storm(HAMI_SIM_FAIL_EVERY="7")
    assert outcome.most <= LIMIT
    assert outcome.counted == outcome.held == 4 * CONTEXT


@pytest.mark.parametrize(
    "wrong",
    [
        "CHARGE_AFTER",
        "REFUND_MAPPED",
        "REFUND_BOUND",
        "REFUND_EXPORTED",
        "REFUND_POOLED",
        "FREE_MANAGED_POOL",
        "UNROUNDED",
        "FREE_CONTEXT",
        "FREE_CODE",
    ],
)
def test_a_wrong_limiter_is_caught_by_the_oracle(storm, programs, wrong) -> None:
    limiter = programs / wrong / "libvgpu.so"
    outcomes = attempts(lambda: storm(limiter=limiter), lambda one: one.most > LIMIT)
    assert outcomes[-1].most > LIMIT


def test_a_limiter_that_keeps_what_the_driver_refused_is_caught_by_its_count(storm, programs) -> None:
    outcome = storm(limiter=programs / "KEEP_REFUSED" / "libvgpu.so", HAMI_SIM_FAIL_EVERY="7")
    assert outcome.counted > outcome.held


def test_a_limiter_that_gives_back_twice_is_caught_by_its_count(storm, programs) -> None:
    """It passes the share until a count falls below nothing, and from then on grants nothing."""
    outcome = storm(limiter=programs / "REFUND_TWICE" / "libvgpu.so")
    assert outcome.counted != outcome.held


FREES_IN_ORDER = """
from ctypes import c_uint64
from tests.gpu.cuda import Card
card = Card()
work = card.launcher(20000)
work()
before = card.free_and_total()[0]
for free, stream in (("cuMemFreeAsync", card.stream()), ("cuMemFreeAsync_ptsz", None)):
    at = card.allocate(6 << 30)
    work()
    card.call(free, c_uint64(at), stream)
    print(before - card.free_and_total()[0])
"""


def test_calls_of_two_threads_at_once_are_counted_as_the_driver_ends_them(
    share, limited, programs, by_the_driver
):
    program = limited(share, str(programs / "races"), 300)
    look = each_time_told(program, lambda: (booked(share), by_the_driver()[1]))
    assert [counted for counted, _ in look] == [held for _, held in look]
    assert len(look) == 2


def test_memory_of_the_plain_call_that_is_freed_on_a_stream_is_given_back(share, limited) -> None:
    """As CUDA allows: its guide frees what cudaMalloc gave by cudaFreeAsync."""
    program = limited(share, sys.executable, "-c", FREES_IN_ORDER, PYTHONPATH=".")
    assert ends(program) == (0, "0\n0\n", "")


KEEPS_IN_A_POOL = """
from ctypes import byref, c_size_t, c_uint64, c_void_p
from tests.gpu.cuda import Card
card, pool, at = Card(), c_void_p(), c_uint64()
card.call("cuDeviceGetDefaultMemPool", byref(pool), 0)
card.call("cuMemPoolSetAttribute", pool, 4, byref(c_uint64(2**64 - 1)))  # release nothing by itself
card.call("cuMemAllocAsync", byref(at), c_size_t(6 << 30), None)
card.call("cuMemFreeAsync", at, None)
card.synchronize()
print(card.free_and_total()[0] >> 30)
card.allocate(8 << 30)
print(card.free_and_total()[0] >> 30)
"""


def test_what_a_pool_keeps_without_using_it_makes_room_before_anything_is_refused(share, limited) -> None:
    code, out, err = ends(limited(share, sys.executable, "-c", KEEPS_IN_A_POOL, PYTHONPATH="."))
    assert (code, out) == (0, "3\n1\n"), err


LEAVES_A_POOL = f"""
{CALLS}
call("cuInit", 0)
context, pool, at = made("cuCtxCreate_v2", 0, 0), c_void_p(), c_uint64()
kernel = made("cuModuleGetFunction", made("cuModuleLoadData", b".version 6.0\\0"), b"busy_us_200000")
call("cuMemPoolCreate", byref(pool), (c_int * 22)(1, 0, 1, 0))
call("cuMemAllocFromPoolAsync", byref(at), c_size_t(1 << 30), pool, None)
call("cuLaunchKernel", kernel, *[c_uint(1)] * 6, c_uint(0), None, None, None)
call("cuMemFreeAsync", at, None)
call("cuMemPoolDestroy", pool)
tell()
call("cuCtxDestroy_v2", context)
tell()
"""


def test_a_pool_that_is_destroyed_with_work_under_way_is_given_back_with_its_context(share, limited) -> None:
    program = limited(share, sys.executable, "-c", LEAVES_A_POOL)
    assert each_time_told(program, lambda: booked(share) >> 20) == [1024 + (CONTEXT >> 20), 0]


LOADS_UNSEEN_AND_FILLS = """
from tests.gpu.cuda import Card, CudaError
card = Card()
card.load_unseen(200 << 20)
print("loaded", flush=True)
input()
try:
    while True:
        card.allocate(2 << 20)
except CudaError as refused:
    print(refused.code)
"""


@pytest.mark.parametrize("wrong", [False, True], ids=["as it is", "wrong"])
def test_a_limiter_that_overlooks_what_the_agent_booked_is_caught_by_the_oracle(
    share, limited, programs, tmp_path, wrong
) -> None:
    """Code that the driver loaded past all entry points; the test books it, as the node's agent does."""
    limiter = programs / "FREE_EXCESS" / "libvgpu.so" if wrong else native_files.find("libvgpu.so")
    program = limited(
        share, sys.executable, "-c", LOADS_UNSEEN_AND_FILLS, PYTHONPATH=".", LD_PRELOAD=str(limiter)
    )
    assert program.stdout
    assert program.stdout.readline() == "loaded\n"
    ledgers.book(share / "one" / "ledger", [ledger.Excess(0, program.pid, 200 << 20)])
    assert program.stdin
    program.stdin.write("\n")
    assert ends(program) == (0, "2\n", "")
    assert oracle(programs, tmp_path / "state")[0] == (10 << 30) + (200 << 20 if wrong else 0)

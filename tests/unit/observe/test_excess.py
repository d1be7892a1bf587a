"""What a process holds past its limiter is booked in the ledger by the node's agent (simulated card)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hami_dra import native_files
from hami_dra.model.ledger import UNIT, Excess, Slot
from hami_dra.model.names import MIB
from hami_dra.model.reading import DriverProcess
from hami_dra.observe import ledgers
from hami_dra.observe.audit import grouped
from hami_dra.observe.excess import ROUNDS, Excesses
from hami_dra.observe.ledgers import Reading
from hami_dra.observe.processes import TenantProcess
from hami_dra.observe.shares import NodeShare
from tests.support.audited import CONTAINER, UID, Audited
from tests.support.limited import A10, CONTEXT, ROOT, SimulatedShares

GIB = 1024**3


def process(memory: int, pid: int = 100, inner: int = 7, started: int = 1, uuid: str = A10) -> TenantProcess:
    return TenantProcess(uuid, pid, started, inner, memory, UID, CONTAINER)


def share(*held: int, pid: int = 7, trusted: bool = False, name: str = "one") -> NodeShare:
    """A share with a living process for each of HELD, all with the same number inside."""
    slots = tuple(Slot(used, 0, pid, 0, 0, 0, 0) for used in held)
    return NodeShare(name, A10, 10 * GIB, 50, False, trusted, Reading(0, 0, slots, dict(enumerate(slots))))


class Rounds:
    """Rounds of the agent that see what they are given."""

    def __init__(self) -> None:
        self._excesses = Excesses()

    def see(self, processes, *shares: NodeShare, again=None) -> dict[str, list[Excess]] | None:
        listed = [DriverProcess(each.device_uuid, each.pid, each.memory) for each in again or processes]
        return self._excesses.round(grouped(processes, lambda uid: shares), listed)


def booked(processes, *shares: NodeShare) -> dict[str, list[Excess]]:
    """After enough rounds that all saw the same."""
    rounds = Rounds()
    for _ in range(ROUNDS - 1):
        assert rounds.see(processes, *shares) is None
    found = rounds.see(processes, *shares)
    assert found is not None
    return found


def test_what_the_driver_holds_beyond_the_ledger_is_booked_after_three_rounds():
    assert booked([process(GIB + 97 * MIB)], share(GIB)) == {"one": [Excess(0, 7, 97 * MIB)]}


@pytest.mark.parametrize(
    ("processes", "shares"),
    [
        ([process(GIB)], [share(GIB)]),
        ([process(GIB - MIB)], [share(GIB)]),
        ([process(0)], [share(GIB)]),
        ([process(GIB + UNIT - 1)], [share(GIB)]),
        ([process(2 * GIB)], [share(GIB, trusted=True)]),
        ([process(2 * GIB)], [share(GIB, pid=8)]),
        ([process(2 * GIB, uuid="GPU-2")], [share(GIB)]),
        ([process(GIB)], []),
    ],
    ids=[
        "booked itself",
        "less than booked",
        "the driver does not say",
        "less than a unit",
        "trusted",
        "another process",
        "another card",
        "no share",
    ],
)
def test_nothing_is_booked_for(processes, shares):
    assert booked(processes, *shares) == {}


def test_the_least_of_three_rounds_is_booked():
    rounds = Rounds()
    for memory, expected in ((2000, 0), (1100, 0), (1500, 100), (1500, 100), (1500, 500), (1000, 0)):
        found = rounds.see([process(memory * MIB)], share(1000 * MIB)) or {}
        assert sum(each.held for each in found.get("one", [])) == expected * MIB


def test_memory_that_was_freed_while_the_agent_looked_is_no_excess():
    rounds = Rounds()
    for _ in range(2 * ROUNDS):
        assert not rounds.see([process(3 * GIB)], share(GIB), again=[process(GIB)])


def test_another_process_with_the_same_number_begins_anew():
    rounds = Rounds()
    for _ in range(ROUNDS):
        rounds.see([process(2 * GIB)], share(GIB))
    assert rounds.see([process(2 * GIB, started=2)], share(GIB)) == {}
    assert rounds.see([process(2 * GIB, pid=101)], share(GIB)) == {}
    assert rounds.see([], share(GIB)) == {}


def test_processes_of_two_containers_with_the_same_number_are_judged_together():
    alike = [process(GIB + 90 * MIB, pid=1), process(GIB + 110 * MIB, pid=2)]
    each = 100 * MIB
    one_ledger = booked(alike, share(GIB, GIB))
    assert one_ledger == {"one": [Excess(0, 7, each), Excess(1, 7, each)]}
    two_ledgers = booked(alike, share(GIB), share(GIB, name="two"))
    assert two_ledgers == {"one": [Excess(0, 7, each)], "two": [Excess(0, 7, each)]}


def entries(node: SimulatedShares) -> list[int]:
    return [each.held for each in ledgers.read(node.state / "shares" / "one" / "ledger").excess]


@pytest.mark.native
def test_it_stays_booked_while_it_is_there_and_goes_when_it_is_given_back(tmp_path, node, kube):
    audited = Audited(tmp_path, node, kube)
    program = node.hold("one", "1Gi")
    audited.sees(program.pid, GIB + CONTEXT + 97 * MIB)
    audited.rounds(ROUNDS - 1)
    assert entries(node) == []
    audited.rounds(1)
    assert entries(node) == [97 * MIB]
    assert f"}} {GIB + CONTEXT + 97 * MIB}\n" in audited.usage.text()
    audited.sees(program.pid, GIB + CONTEXT + 50 * MIB)
    audited.rounds(1)
    assert entries(node) == [50 * MIB]
    audited.sees(program.pid, GIB + CONTEXT)
    audited.rounds(1)
    assert entries(node) == []
    assert audited.events() == []


@pytest.mark.native
def test_a_plugin_that_was_restarted_leaves_what_is_booked_until_it_knows_better(tmp_path, node, kube):
    program = node.hold("one", "1Gi")
    for rounds in (ROUNDS, 1):
        audited = Audited(tmp_path, node, kube)
        audited.sees(program.pid, GIB + CONTEXT + 97 * MIB)
        audited.rounds(rounds)
        assert entries(node) == [97 * MIB]
    audited.sees(program.pid, GIB + CONTEXT)
    audited.rounds(ROUNDS)
    assert entries(node) == []


@pytest.mark.native
def test_with_the_policy_none_nothing_is_booked_and_what_was_is_taken_out(tmp_path, node, kube):
    program = node.hold("one", "1Gi")
    for policy, expected in (("warn", [97 * MIB]), ("none", [])):
        audited = Audited(tmp_path, node, kube, policy)
        audited.sees(program.pid, GIB + CONTEXT + 97 * MIB)
        audited.rounds(ROUNDS)
        assert entries(node) == expected


@pytest.mark.native
def test_a_ledger_that_its_container_cut_short_or_filled_with_nonsense_stops_no_round(tmp_path, node, kube):
    audited = Audited(tmp_path, node, kube)
    program = node.hold("one", "1Gi")
    audited.sees(program.pid, GIB + CONTEXT + 97 * MIB)
    path = node.state / "shares" / "one" / "ledger"
    with path.open("r+b") as file:
        file.seek(80)
        file.write(b"\xff" * 4)
        file.seek(3072)
        file.write(b"\xff" * 1024)
    audited.rounds(ROUNDS)
    assert entries(node) == [97 * MIB]
    for size in (3080, 100, 70):
        os.truncate(path, size)
        audited.rounds(ROUNDS)
    audited.usage.book("one", [Excess(0, program.pid, MIB)])  # cut short between the look and the booking
    assert path.stat().st_size == 70


LOADS_UNSEEN = """
from tests.gpu.cuda import Card, CudaError
card = Card()
card.load_unseen(200 << 20)
print("loaded", card.free_and_total()[0] >> 20, flush=True)
input()
print("free", card.free_and_total()[0] >> 20, flush=True)
got = 0
try:
    while True:
        card.allocate(4 << 20)
        got += 4
except CudaError as refused:
    assert refused.code == 2
print("filled", got, flush=True)
input()
"""


WATCHES_WHAT_IS_FREE = """
import threading
from tests.gpu.cuda import Card
card, seen, done = Card(), set(), threading.Event()
threading.Thread(target=lambda: (input(), done.set()), daemon=True).start()
print("watches", flush=True)
while not done.is_set():
    seen.add(card.free_and_total()[0])
print(*sorted(seen))
"""


@pytest.mark.native
def test_who_looks_while_the_agent_writes_sees_one_of_its_numbers_or_none(tmp_path):
    """Two numbers of which any mixture would be a third: 4 GiB, and 512 bytes less."""
    node = SimulatedShares(tmp_path)
    folder = node.add("one", memory=20 * GIB)
    limiter = {"LD_PRELOAD": str(native_files.find("libvgpu.so")), "HAMI_SHARES_DIR": str(folder.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", WATCHES_WHAT_IS_FREE],
        env=node.environment | limiter | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout
        assert program.stdout.readline() == "watches\n"
        told = (4 * GIB, 4 * GIB - UNIT)
        for number in range(5000):
            ledgers.book(folder / "ledger", [Excess(0, program.pid, told[number % 2])])
        out, _ = program.communicate("\n", timeout=60)
    free = 20 * GIB - CONTEXT
    assert {free - int(each) for each in out.split()} <= {0, *told}


class Program:
    """A program under the limiter that loads 200 MiB as the CUDA runtime does, then fills its share."""

    def __init__(self, node: SimulatedShares, shares: Path) -> None:
        self._node = node
        limiter = {"LD_PRELOAD": str(native_files.find("libvgpu.so")), "HAMI_SHARES_DIR": str(shares)}
        self.environment = node.environment | limiter | {"PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", LOADS_UNSEEN],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def says(self, word: str) -> int:
        """The number of MiB that it says next."""
        assert self._process.stdout
        said, number = self._process.stdout.readline().split()
        assert said == word
        return int(number)

    def goes_on(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def held(self) -> int:
        """MiB by the simulated driver's word."""
        return self.nvidia_smi(self._node.environment, "--query-compute-apps=used_memory")

    def nvidia_smi(self, environment: dict[str, str], query: str) -> int:
        program = str(native_files.find("sim/nvidia-smi"))
        done = subprocess.run(
            [program, query, "--format=csv,noheader,nounits"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return int(done.stdout)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def program(tmp_path):
    made = SimulatedShares(tmp_path / "full")
    made.add("one", memory=GIB)
    running = Program(made, made.state / "shares")
    yield made, running
    running.end()
    made.close()


@pytest.mark.native
def test_a_program_whose_code_the_limiter_never_saw_cannot_fill_its_share_past_the_limit(
    tmp_path, program, kube
):
    node, running = program
    context = CONTEXT // MIB
    assert running.says("loaded") == 1024 - context, "the limiter does not know"
    assert running.held() == context + 200
    audited = Audited(tmp_path, node, kube)
    audited.sees(running.pid, running.held() * MIB)
    audited.rounds(ROUNDS)
    assert running.nvidia_smi(running.environment, "--query-gpu=memory.used") == context + 200
    assert running.nvidia_smi(running.environment, "--query-compute-apps=used_memory") == context + 200
    running.goes_on()
    assert running.says("free") == 1024 - context - 200
    running.says("filled")
    assert 1024 - 4 < running.held() <= 1024
    running.end()
    node.hold("one", f"{1024 - context}Mi")  # all of a dead process's is free at once

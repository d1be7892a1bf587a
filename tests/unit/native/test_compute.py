"""The compute limit on the simulated driver: shares of device time by its own clock, for every kind of work.

The machine that runs this may be busy, which makes a program get less than it may. So upper bounds are close
and lower ones are wide; that the mean is exact is shown by `make bench`.
"""

import time

import pytest

from hami_dra.node.arbiter import Word
from tests.gpu.work import KINDS
from tests.unit.native.compute import Node, end, result

pytestmark = pytest.mark.native

SECONDS = 1.2


@pytest.fixture
def node(tmp_path):
    simulated = Node(tmp_path)
    yield simulated
    simulated.close()


@pytest.mark.parametrize("kind", KINDS)
def test_cores_are_the_part_of_the_card_that_a_program_gets_whatever_it_runs(node, kind):
    share = node.share("one", 40)
    got = result(node.work(share, kind, SECONDS))["device_share"]
    assert 0.1 < got < 0.46, got


def test_without_a_limit_a_program_gets_what_it_gets_without_the_limiter(node):
    free = result(node.work(None, "long", SECONDS))["device_share"]
    share = node.share("one", 0)
    got = result(node.work(share, "long", SECONDS))["device_share"]
    assert got > 0.5 * free, (got, free)


def test_processes_of_one_container_compute_on_one_budget(node):
    share = node.share("one", 40)
    processes = [node.work(share, kind, SECONDS) for kind in ("ex", "tiny", "graph")]
    together = sum(result(process)["device_share"] for process in processes)
    assert 0.1 < together < 0.52, together


def test_time_of_other_tenants_is_not_charged_although_events_measure_it(node):
    def knows_of_no_others(shares):
        return {name: Word(part=1000) for name in shares}

    right, wrong = charged_for_what_was_used(node, None), charged_for_what_was_used(node, knows_of_no_others)
    assert right < 1.15, right
    assert wrong > 1.3, wrong


def charged_for_what_was_used(node, planner):
    """Two programs that compute all the time: device time that both are charged, over what they used."""
    names = [node.share("one", 100), node.share("two", 100)]
    before = sum(map(node.accounted, names))
    with node.arbiter(planner):
        time.sleep(0.1)
        programs = [node.work(name, "graph", 2 * SECONDS) for name in names]
        used = sum((said := result(program))["device_share"] * said["elapsed"] for program in programs)
    return (sum(map(node.accounted, names)) - before) / used


def test_two_containers_get_their_parts_of_a_full_card(node):
    small, large = node.share("small", 30), node.share("large", 70)
    with node.arbiter():
        programs = [node.work(small, "graph", 2 * SECONDS), node.work(large, "graph", 2 * SECONDS)]
        got_small, got_large = (result(program)["device_share"] for program in programs)
    assert got_small < 0.36, got_small
    assert got_large > 1.6 * got_small, (got_small, got_large)


def test_a_limit_changed_on_the_node_holds_at_once(node):
    share = node.share("one", 10)
    program = node.work(share, "ex", 2.5)
    assert node.pace(share, 0.6) < 0.15
    node.share(share, 80)
    time.sleep(0.05)
    assert node.pace(share, 0.6) > 0.25
    node.share(share, 5)
    time.sleep(0.05)
    assert node.pace(share, 0.6) < 0.1
    end(program)


def test_a_share_with_high_priority_interrupts_the_others(node):
    low, high = node.share("low", 50), node.share("high", 50, priority=0)
    with node.arbiter():
        first = node.work(low, "ex", 10)
        assert node.pace(low, 0.4) > 0.1
        second = node.work(high, "ex", 10)
        time.sleep(0.1)
        assert node.pace(low, 0.4) < 0.05
        assert node.pace(high, 0.4) > 0.1
        end(second)
        time.sleep(0.4)
        assert node.pace(low, 0.4) > 0.1
        end(first)


def test_a_share_without_cores_takes_what_is_idle_and_yields_it(node):
    modest, owner = node.share("modest", 0), node.share("owner", 80)
    with node.arbiter():
        first = node.work(modest, "graph", 10)
        assert (alone := node.pace(modest, 0.4)) > 0.2
        second = node.work(owner, "long", 10)
        time.sleep(0.3)
        assert node.pace(modest, 0.5) < 0.7 * alone
        end(first)
        end(second)


def test_a_soft_share_goes_beyond_its_cores_only_while_the_card_is_idle(node):
    soft, other = node.share("soft", 20, cores_policy="soft"), node.share("other", 70)
    with node.arbiter():
        first = node.work(soft, "graph", 10)
        time.sleep(0.2)
        assert (alone := node.pace(soft, 0.4)) > 0.25
        second = node.work(other, "long", 10)
        time.sleep(0.3)
        assert node.pace(soft, 0.5) < 0.8 * alone
        end(first)
        end(second)


def test_a_process_that_is_killed_while_it_waits_leaves_the_budget_to_the_others(node):
    share = node.share("one", 30)
    for _ in range(3):
        program = node.work(share, "ex", 10)
        time.sleep(0.1)
        end(program)
    got = result(node.work(share, "ex", SECONDS))["device_share"]
    assert 0.08 < got < 0.36, got


THREADS = """
tasks = lambda: sorted(map(int, os.listdir("/proc/self/task")))
before = len(tasks())
launch = card.launcher(1000)
print(len(tasks()) - before, end=" ")
launch(); card.synchronize(); launch(); card.synchronize()
blocked = [
    int(line.split()[1], 16) >> 14 & 1
    for task in tasks()
    for line in open(f"/proc/self/task/{task}/status")
    if line.startswith("SigBlk")
]
print(len(tasks()) - before, sum(blocked))
"""


def test_one_thread_begins_with_the_first_launch_and_takes_no_signals(node):
    plain = node.python(None, THREADS).stdout.split()
    limited = node.python(node.share("one", 50), THREADS).stdout.split()
    assert plain[0] == limited[0] == "0"
    assert int(limited[1]) == int(plain[1]) + 1
    assert int(limited[2]) == int(plain[2]) + 1  # SIGTERM


def test_a_capture_records_what_the_program_launched_and_nothing_of_ours(node):
    counted = """
stream, graph, count = card.stream(), c_void_p(), c_size_t()
card.call("cuStreamBeginCapture_v2", stream, 0)
launch = card.launcher(5000, stream)
for _ in range(50): launch()
card.call("cuStreamEndCapture", stream, byref(graph))
card.call("cuGraphGetNodes", graph, None, byref(count))
print(count.value)
"""
    assert node.python(node.share("one", 10), counted).stdout == "50\n"
    assert node.accounted("one") == 0


def test_a_process_with_a_debt_of_a_minute_exits_at_once(node):
    share = node.share("one", 1)
    begin = time.monotonic()
    assert node.python(share, "card.launcher(600_000)()\ncard.synchronize()").returncode == 0
    assert time.monotonic() - begin < 20
    assert node.accounted(share) > 0.5


def test_a_context_may_end_in_a_handler_of_the_exit(node):
    """As the CUDA runtime's does; with PyTorch on an H100 the program then waited for itself for ever."""
    ends_last = """
libc = ctypes.CDLL(None)
libc.on_exit(ctypes.cast(card.library.cuDevicePrimaryCtxRelease_v2, c_void_p), None)  # its device: 0
for _ in range(50): card.launcher(5000)()
"""
    assert node.python(node.share("one", 90), ends_last).returncode == 0


def test_the_child_of_a_fork_is_limited_for_itself(node):
    share = node.share("one", 30)
    process = node.start(
        share,
        "python3",
        "-c",
        "import os, sys; from tests.gpu import work\n"
        "child = os.fork()\n"
        "sys.argv = ['work', 'ex', '--seconds', '1']\n"
        "work.main() if child == 0 else os.wait()",
    )
    got = result(process)["device_share"]
    assert 0.08 < got < 0.37, got


def test_a_launch_that_the_driver_refuses_is_not_charged(node):
    refused = """
for _ in range(20):
    code = card.library.cuLaunchKernel(card.kernel, 0, 1, 1, 32, 1, 1, 0, None, card.arguments(5000), None)
    assert code == 1, code
"""
    share = node.share("one", 10)
    outcome = node.python(share, refused)
    assert outcome.returncode == 0, outcome.stderr
    assert node.accounted(share) == 0

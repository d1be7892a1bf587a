"""What is told of a share over time."""

from hami_dra.model.ledger import Slot
from hami_dra.observe.ledgers import Reading
from hami_dra.observe.shares import NodeShare
from hami_dra.observe.totals import Totals

S = 10**9


def share(*refused, compute_ns=0):
    slots = tuple(Slot(0, 0, 1, 0, count, 0, 0) for count in refused)
    return NodeShare("one", "GPU-1", 0, 50, False, False, Reading(compute_ns, 0, slots))


def test_refusals_of_all_processes_are_added_up():
    assert Totals().update([share(3, 1)], 0)["one"].refused == 4


def test_refusals_stay_when_another_process_takes_the_slot():
    totals = Totals()
    totals.update([share(4)], 0)
    totals.update([share(4)], 1)
    assert totals.update([share(1)], 2)["one"].refused == 5


def test_compute_in_use_is_that_of_the_last_ten_seconds():
    totals = Totals()
    for second in range(100):
        found = totals.update([share(compute_ns=min(second, 50) * S // 2)], second)["one"]
        if second == 40:
            assert found.utilization == 0.5
    assert found.utilization == 0


def test_a_ledger_that_is_made_anew_used_no_less_than_nothing():
    totals = Totals()
    for second in range(20):
        totals.update([share(compute_ns=second * S)], second)
    assert totals.update([share(compute_ns=0)], 20)["one"].utilization == 0
    assert totals.update([share(compute_ns=S)], 22)["one"].utilization == 0.5


def test_a_share_that_is_gone_is_forgotten():
    totals = Totals()
    totals.update([share(5)], 0)
    totals.update([], 1)
    assert totals.update([share(1)], 2)["one"].refused == 1

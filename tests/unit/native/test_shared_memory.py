"""Memory that several processes hold (IPC, exported handles) is counted once, where it was made.

All on the simulated driver, whose oracle counts a piece for its maker as long as that one holds it, and then
for another holder. How NVML counts it on a card has not been seen.
"""

import subprocess

import pytest

from hami_dra import native_files
from hami_dra.observe.excess import ROUNDS
from tests.support.audited import Audited, cluster_with_the_pod
from tests.support.limited import SimulatedShares
from tests.unit.native.between import Partner
from tests.unit.native.in_share import CONTEXT_MIB, GIB, add_share, booked

pytestmark = pytest.mark.native

CONTEXT = CONTEXT_MIB << 20
LIMIT = 10 * GIB
KINDS = ["pointer", "mapping"]
"""cuMemAlloc and IPC; cuMemCreate and a file descriptor."""
ALL = [*KINDS, "pooled"]
"""And a pool with its file descriptor; its memory always ends with its maker."""


@pytest.mark.parametrize("kind", ALL)
def test_what_a_process_takes_of_another_of_its_container_is_counted_once(
    share, limited, by_the_driver, kind
):
    maker, taker = (Partner(limited, share, kind) for _ in range(2))
    made = maker.makes(3 * GIB)
    assert taker.takes(made) == "has it"
    assert booked(share) == by_the_driver()[1] == 3 * GIB + 2 * CONTEXT
    assert taker.can_have() == maker.can_have() == LIMIT - 3 * GIB - 2 * CONTEXT
    taker.frees("theirs")
    assert booked(share) == by_the_driver()[1] == 3 * GIB + 2 * CONTEXT
    assert taker.can_have() == LIMIT - 3 * GIB - 2 * CONTEXT
    maker.frees("own")
    assert booked(share) == by_the_driver()[1] == 2 * CONTEXT
    assert taker.can_have() == LIMIT - 2 * CONTEXT
    assert by_the_driver()[0][0] == LIMIT


@pytest.mark.parametrize("kind", ALL)
def test_what_a_container_takes_of_another_is_counted_where_it_was_made(
    tmp_path, limited, by_the_driver, kind
):
    ours = add_share(tmp_path / "ours", "one", LIMIT)
    theirs = add_share(tmp_path / "theirs", "two", 5 * GIB)
    maker, taker = Partner(limited, ours, kind, group=1), Partner(limited, theirs, kind, group=2)
    made = maker.makes(6 * GIB)
    assert taker.takes(made) == "has it"
    assert (booked(ours), booked(theirs, "two")) == (6 * GIB + CONTEXT, CONTEXT)
    assert maker.can_have() == LIMIT - 6 * GIB - CONTEXT
    assert taker.can_have() == 5 * GIB - CONTEXT
    most, held = by_the_driver()
    assert (most[1], most[2], held) == (LIMIT, 5 * GIB, 6 * GIB + 2 * CONTEXT)
    taker.is_killed()
    maker.frees("own")
    assert booked(ours) == by_the_driver()[1] == CONTEXT


def test_memory_that_is_gone_can_no_longer_be_taken(share, limited):
    maker, taker = (Partner(limited, share, "pointer") for _ in range(2))
    made = maker.makes(GIB)
    maker.frees("own")
    assert taker.takes(made) == "error 1"
    assert taker.can_have() == LIMIT - 2 * CONTEXT


def test_a_process_cannot_open_what_it_made_itself(share, limited):
    maker = Partner(limited, share, "pointer")
    assert maker.takes(maker.makes(GIB)) == "error 201"


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "gives it up"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_its_maker_leaves_to_others_is_booked_by_the_agent_for_who_holds_it(
    tmp_path, limited, kind, killed
):
    """The limiter cannot see it: the maker's booking is gone, and the taker never booked anything."""
    node = SimulatedShares(tmp_path)
    shares = node.add("one", memory=LIMIT).parent
    audited = Audited(tmp_path, node, cluster_with_the_pod())

    def rounds():
        listed = held_by_process(node)
        for pid, memory in listed.items():
            audited.sees(pid, memory)
        audited.driver.found = [each for each in audited.driver.found if each.pid in listed]
        audited.rounds(ROUNDS)

    maker, taker = (Partner(limited, shares, kind, HAMI_SIM_STATE=str(tmp_path / "sim")) for _ in range(2))
    assert taker.takes(maker.makes(3 * GIB)) == "has it"
    assert held_by_process(node) == {maker.pid: 3 * GIB + CONTEXT, taker.pid: CONTEXT}
    rounds()
    assert booked(shares) == 3 * GIB + 2 * CONTEXT  # nobody pays twice
    contexts = CONTEXT if killed else 2 * CONTEXT
    maker.is_killed() if killed else maker.frees("own")
    assert held_by_process(node)[taker.pid] == 3 * GIB + CONTEXT
    assert sum(held_by_process(node).values()) == 3 * GIB + contexts
    rounds()
    assert taker.can_have() == LIMIT - 3 * GIB - contexts
    taker.frees("theirs")
    rounds()
    assert taker.can_have() == LIMIT - contexts


def held_by_process(node):
    """Bytes by pid, as nvidia-smi tells them without the limiter."""
    query = ["--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    done = subprocess.run(
        [native_files.find("sim/nvidia-smi"), *query],
        env=node.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return {int(pid): int(mib) << 20 for pid, mib in (line.split(",") for line in done.stdout.splitlines())}

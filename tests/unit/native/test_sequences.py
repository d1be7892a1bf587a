"""Calls in any order: after each the ledger has all that the driver holds, and in the end nothing more.

What is found here is told with the calls that led to it. More seeds: HAMI_SEQUENCE_SEEDS="1 2 3 ...". All on
the simulated driver.
"""

import os
import sys

import pytest

from tests.unit.native.in_share import GIB, UUID, add_share, booked, ends, oracle, two_cards

pytestmark = pytest.mark.native

SEEDS = [int(seed) for seed in os.environ.get("HAMI_SEQUENCE_SEEDS", "1 2").split()]
STEPS = 300
CONTEXTS = "context destroy_context attach detach retain release reset green destroy_green switch limit"
POOLS = "pool from_pool from_current free_pooled destroy_pool set_pool trim wait"
PHYSICAL = "physical map_it retain_handle export import_it release_handle unmap close"
WORK = "work graph launch free_of_graph destroy_graph trim_graphs"
UNFREED = "graphs, what they did not free told as used"
CALLS = {
    "all": (1, ""),
    "pools": (1, f"context switch work {POOLS}"),
    "destroyed pools": (1, "context switch work pool from_pool free_pooled destroy_pool wait"),
    "contexts": (1, f"{CONTEXTS} allocate free"),
    "graphs": (1, f"context switch {WORK} allocate free"),
    UNFREED: (1, f"context switch {WORK} allocate free"),
    "physical": (1, PHYSICAL),
    "sparse arrays": (
        1,
        "context destroy_context retain release green destroy_green switch physical release_handle sparse"
        " map_part unmap_part free_sparse",
    ),
    "two cards": (2, f"{CONTEXTS} {POOLS} {PHYSICAL} {WORK} allocate free array free_array fill"),
}
"""How many cards there are, and which calls are made; none: all."""


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", CALLS)
def test_the_ledger_has_all_that_the_driver_holds_after_every_call(tmp_path, limited, programs, kind, seed):
    count, calls = CALLS[kind]
    cards, other = two_cards(tmp_path)
    uuids = (UUID, other)[:count]
    for uuid in uuids:
        shares = add_share(tmp_path / "shares", uuid, 3 * GIB, uuid)
    command = (sys.executable, "-m", "tests.unit.native.sequences", seed, count, *calls.split())
    used = {"HAMI_SIM_GRAPH_USED": "unfreed"} if kind == UNFREED else {}
    program = limited(shares, *command, HAMI_SIM_FILE=str(cards), **used)
    history = []

    def after(line):
        program.stdin.write(line + "\n")
        program.stdin.flush()
        history.append(program.stdout.readline().strip())
        assert history[-1], program.stderr.read()
        held = oracle(programs, tmp_path / "state", cards)[-2:]
        return [(each, booked(shares, uuid)) for each, uuid in zip(held, uuids, strict=False)]

    for _ in range(STEPS):
        for held, counted in after("next"):
            assert held <= counted <= 3 * GIB, "\n".join(history)
    assert after("end") == [(0, 0)] * count, "\n".join(history)
    assert ends(program) == (0, "", "")

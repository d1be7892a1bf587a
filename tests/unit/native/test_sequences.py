"""Calls in any order: after each the ledger has all that the driver holds, and in the end nothing more.

What is found here is told with the calls that led to it. More seeds: HAMI_SEQUENCE_SEEDS="1 2 3 ...". All on
the simulated driver.
"""

import os
import subprocess
import sys

import pytest

from hami_dra.model import ledger
from tests.unit.native.in_share import GIB, add_share, ends
from tests.unit.native.simulated import A10

pytestmark = pytest.mark.native

SEEDS = [int(seed) for seed in os.environ.get("HAMI_SEQUENCE_SEEDS", "1 2").split()]
STEPS = 300
CALLS = {
    "all": "",
    "pools": "context switch work pool from_pool from_current free_pooled destroy_pool set_pool trim wait",
    "destroyed pools": "context switch work pool from_pool free_pooled destroy_pool wait",
    "contexts": "context destroy_context retain release reset green destroy_green switch limit allocate free",
    "physical": "physical map_it retain_handle export import_it release_handle unmap close",
    "sparse arrays": "context destroy_context retain release green destroy_green switch physical "
    "release_handle sparse map_part unmap_part free_sparse",
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", CALLS)
def test_the_ledger_has_all_that_the_driver_holds_after_every_call(tmp_path, limited, programs, kind, seed):
    shares = add_share(tmp_path / "shares", "one", 3 * GIB)
    command = (sys.executable, "-m", "tests.unit.native.sequences", seed, *CALLS[kind].split())
    program = limited(shares, *command)
    history = []

    def after(line):
        program.stdin.write(line + "\n")
        program.stdin.flush()
        history.append(program.stdout.readline().strip())
        assert history[-1], program.stderr.read()
        oracle = [programs / "oracle", A10, tmp_path / "state"]
        held = int(subprocess.run(oracle, capture_output=True, text=True, check=True).stdout.split()[-1])
        return held, ledger.used((shares / "one" / "ledger").read_bytes())

    for _ in range(STEPS):
        held, counted = after("next")
        assert held <= counted <= 3 * GIB, "\n".join(history)
    assert after("end") == (0, 0), "\n".join(history)
    assert ends(program) == (0, "", "")

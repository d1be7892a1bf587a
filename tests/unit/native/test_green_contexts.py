"""Green contexts keep a card's primary context, and open it when nobody has: what was allocated ends with it.

All on the simulated driver. What a green context's share of the processors does is not simulated.
"""

import sys

import pytest

from tests.unit.native.in_share import CALLS, CONTEXT_MIB, GIB, add_share, booked, each_time_told
from tests.unit.native.simulated import A10

pytestmark = pytest.mark.native

PROGRAM = f"""
{CALLS}
def take(size):
    call("cuMemAlloc_v2", byref(c_uint64()), c_size_t(size))

call("cuInit", 0)
"""


@pytest.fixture
def held(limited):
    """MiB in the share's ledger, each time that the program tells."""

    def run(shares, program, **environment):
        process = limited(shares, sys.executable, "-c", PROGRAM + program, **environment)
        return each_time_told(process, lambda: booked(shares) >> 20)

    return run


def test_what_was_allocated_in_a_primary_context_that_a_green_one_opened_ends_with_the_green_one(share, held):
    program = """
green = made("cuGreenCtxCreate", None, 0, 1)
call("cuCtxSetCurrent", made("cuDevicePrimaryCtxRetain", 0))
take(1 << 30)
call("cuDevicePrimaryCtxRelease_v2", 0)
tell()
call("cuGreenCtxDestroy", green)
tell()
"""
    assert held(share, program) == [1024 + CONTEXT_MIB, 0]


def test_what_was_allocated_in_a_green_context_lives_until_the_primary_one_ends(share, held):
    program = """
green = made("cuGreenCtxCreate", None, 0, 1)
made("cuDevicePrimaryCtxRetain", 0)
call("cuCtxSetCurrent", made("cuCtxFromGreenCtx", green))
take(1 << 30)
call("cuGreenCtxDestroy", green)
tell()
call("cuDevicePrimaryCtxRelease_v2", 0)
tell()
"""
    assert held(share, program) == [1024 + CONTEXT_MIB, 0]


def test_the_end_of_a_green_context_gives_back_nothing_of_another_context(share, held):
    """The driver may give a context the handle that an earlier primary one had."""
    program = """
first = made("cuDevicePrimaryCtxRetain", 0)
call("cuDevicePrimaryCtxRelease_v2", 0)
other = made("cuCtxCreate_v2", 0, 0)
assert other.value == first.value
take(1 << 30)
green = made("cuGreenCtxCreate", None, 0, 1)
call("cuGreenCtxDestroy", green)
tell()
call("cuCtxDestroy_v2", other)
tell()
"""
    assert held(share, program) == [1024 + CONTEXT_MIB, 0]


def test_a_green_context_that_opens_the_primary_one_is_charged_what_that_costs(tmp_path, share, held):
    """It is the first of its share, whose cost nobody knows yet."""
    cards = tmp_path / "gpus.yaml"
    cards.write_text(A10.read_text().rstrip() + "\n  contextMiB: 500\n")
    program = """
green = made("cuGreenCtxCreate", None, 0, 1)
tell()
call("cuGreenCtxDestroy", green)
tell()
"""
    assert held(share, program, HAMI_SIM_FILE=str(cards)) == [500, 0]


def test_a_green_context_that_does_not_fit_is_refused_and_leaves_nothing(tmp_path, held):
    cards = tmp_path / "gpus.yaml"
    cards.write_text(A10.read_text().rstrip() + "\n  contextMiB: 500\n")
    shares = add_share(tmp_path / "shares", "one", GIB * 2 // 5)
    program = """
assert cuda.cuGreenCtxCreate(byref(c_void_p()), None, 0, 1) == 2
tell()
flags, active = c_int(), c_int(1)
call("cuDevicePrimaryCtxGetState", 0, byref(flags), byref(active))
assert active.value == 0
"""
    assert held(shares, program, HAMI_SIM_FILE=str(cards)) == [0]


def test_a_primary_context_that_is_open_is_had_again_where_nothing_more_fits(tmp_path, held):
    shares = add_share(tmp_path / "shares", "one", CONTEXT_MIB << 20)
    program = """
first, again = [made("cuDevicePrimaryCtxRetain", 0) for _ in range(2)]
assert first.value == again.value
made("cuGreenCtxCreate", None, 0, 1)
tell()
"""
    assert held(shares, program) == [CONTEXT_MIB]

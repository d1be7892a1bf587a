"""Work on the simulated driver is charged in whichever context it runs, and when its context ends with it."""

import pytest

pytestmark = [pytest.mark.native, pytest.mark.slow, pytest.mark.usefixtures("prompt")]

ROUNDS, WORK_S = 40, 0.004
CONTEXTS = f"""
def works():
    module, kernel, none = c_void_p(), c_void_p(), (None, None)
    card.call("cuModuleLoadData", byref(module), b"any")
    card.call("cuModuleGetFunction", byref(kernel), module, b"busy_us_{WORK_S * 1e6:.0f}")
    card.call("cuLaunchKernel", kernel, 1, 1, 1, 1, 1, 1, 0, None, *none)
    card.synchronize()

def made(name, *arguments):
    handle = c_void_p()
    card.call(name, byref(handle), *arguments)
    return handle
"""


@pytest.mark.parametrize(
    "each",
    [
        """
    green = made("cuGreenCtxCreate", None, 0, 1)
    card.call("cuCtxSetCurrent", made("cuCtxFromGreenCtx", green))
    works()
    card.call("cuGreenCtxDestroy", green)
""",
        """
    own = made("cuCtxCreate_v2", 0, 0)
    works()
    card.call("cuCtxDestroy_v2", own)
""",
    ],
    ids=["green", "own"],
)
def test_work_is_charged_in_each_of_many_contexts_that_end_with_it(node, each):
    """Which end before the limiter's thread has looked, and are more than are measured at once."""
    share = node.share("one", 90)
    done = node.python(share, f"{CONTEXTS}\nfor _ in range({ROUNDS}):{each}")
    assert done.returncode == 0, done.stderr
    assert node.accounted(share) > 0.9 * ROUNDS * WORK_S


def test_work_is_charged_although_the_primary_context_beside_its_own_ends_meanwhile(node):
    share = node.share("one", 90)
    meanwhile = """
own, module, kernel = made("cuCtxCreate_v2", 0, 0), c_void_p(), c_void_p()
card.call("cuModuleLoadData", byref(module), b"any")
card.call("cuModuleGetFunction", byref(kernel), module, b"busy_us_100000")
card.call("cuLaunchKernel", kernel, 1, 1, 1, 1, 1, 1, 0, None, None, None)
made("cuDevicePrimaryCtxRetain", 0)
card.call("cuDevicePrimaryCtxReset_v2", 0)
card.synchronize()
"""
    done = node.python(share, CONTEXTS + meanwhile)
    assert done.returncode == 0, done.stderr
    assert node.accounted(share) > 0.09

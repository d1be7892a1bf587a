"""What the card does by itself, on which the limit on computing rests; the riskiest assumption first."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from tests.gpu.finding import Finding
from tests.gpu.host import Host, part


def event_time(host: Host) -> Iterator[Finding]:
    """Without MPS, time between events has other tenants' slices in it: what the correction rests on."""
    length = "launch = card.launcher(200_000)\nlaunch()\nprint(card.device_time(launch))"
    code = f"card.calibrate({host.loops_of_us})\n{length}"
    alone = float(host.python(None, code))
    seconds = min(8.0, host.seconds)
    rivals = [host.work(None, "long", seconds), host.work(None, "long", seconds)]
    time.sleep(seconds / 3)
    among = float(host.python(None, code))
    for rival in rivals:
        part(rival)
    ratio = among / alone
    yield Finding(
        2.4 < ratio < 3.6, "3 times as long among two tenants", f"{alone:.1f} ms alone, x {ratio:.2f}"
    )


def events(host: Host) -> Iterator[Finding]:
    """What events add to the length of a kernel, when the stream is busy and when it is idle."""
    for length in (5, 20, 100, 500):
        code = (
            f"card.calibrate({host.loops_of_us})\nimport json\nprint(json.dumps(card.event_costs({length})))"
        )
        said = json.loads(host.python(None, code))
        found = ", ".join(f"{what} {microseconds:.2f} us" for what, microseconds in said.items())
        yield Finding(None, "known only", f"{length} us: {found}")


def slices(host: Host) -> Iterator[Finding]:
    """How the card switches between tenants: how long one computes, and how long it then waits."""
    if host.simulated:
        yield Finding(None, "a real card's clock", "not here")
        return
    for rivals in (1, 2):
        others = [host.work(None, "long", 6) for _ in range(rivals)]
        time.sleep(2.5)
        runs, waits = json.loads(host.python(None, "import json\nprint(json.dumps(card.slices(1_000_000)))"))
        for other in others:
            part(other)
        yield Finding(None, "known only", f"{rivals} rivals: runs {_spread(runs)}, waits {_spread(waits)}")


OUTLIVED = """
from ctypes import byref, c_size_t, c_uint, c_uint64, c_void_p
at, graph, executable, told, kind = c_uint64(), c_void_p(), c_void_p(), c_uint64(), c_uint()
stream = card.stream()
card.call("cuStreamBeginCapture_v2", stream, 0)
card.call("cuMemAllocAsync", byref(at), c_size_t(64 << 20), stream)
card.call("cuStreamEndCapture", stream, byref(graph))
card.call("cuGraphInstantiateWithFlags", byref(executable), graph, c_uint64(0))
card.call("cuGraphLaunch", executable, stream)
card.synchronize()
card.call("cuGraphExecDestroy", executable)
for attribute in (0, 2):
    card.call("cuDeviceGetGraphMemAttribute", 0, attribute, byref(told))
    print(told.value >> 20, end=" ")
card.call("cuPointerGetAttribute", byref(kind), 2, at)
"""


def graphs(host: Host) -> Iterator[Finding]:
    """Memory that outlived its graph: is it told as used by graphs? The limiter is right either way, but it
    can be more exact where it knows; it rests on such an address being known to the driver.
    """
    used, reserved = host.python(None, OUTLIVED).split()
    found = f"used {used} MiB, reserved {reserved}; the address is known"
    yield Finding(None, "of 64 MiB 0 or 64 used", found)


def _spread(microseconds: list[float]) -> str:
    """Count, least, median and most."""
    ordered = sorted(microseconds) or [0.0]
    middle = ordered[len(ordered) // 2]
    return f"{len(microseconds)} x {ordered[0]:.0f} / {middle:.0f} / {ordered[-1]:.0f} us"

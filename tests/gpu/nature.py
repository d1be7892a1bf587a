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


def _spread(microseconds: list[float]) -> str:
    """Count, least, median and most."""
    ordered = sorted(microseconds) or [0.0]
    middle = ordered[len(ordered) // 2]
    return f"{len(microseconds)} x {ordered[0]:.0f} / {middle:.0f} / {ordered[-1]:.0f} us"

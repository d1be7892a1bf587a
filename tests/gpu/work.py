"""`python -m tests.gpu.work KIND --seconds N`: computes as one kind of program does, and tells how much.

`device_share`: the device time of all completed work, taken at its length when alone, over the time that it
took. `--alone` finds that length out, with the card to oneself and nothing in front of the driver. Runs on
any driver; what is in front of it is the caller's affair.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable

from tests.gpu.cuda import Card

BETWEEN_WAITS_MS = 10.0
"""Work between two waits, as programs that read a result now and then."""
ALONE_BATCH_MS, ALONE_BATCHES = 100.0, 20

KINDS = ("tiny", "long", "sync", "graph", "streams", "cooperative", "ex", "2ms", "6ms", "varying")


def prepare(card: Card, kind: str) -> tuple[Callable[[], None], float]:
    """A function that submits one piece of work, and its length alone in microseconds."""
    if kind == "tiny":
        return card.launcher(20), 20
    if kind == "long":
        return card.launcher(50_000), 50_000
    if kind == "2ms":
        return card.launcher(2_000), 2_000
    if kind == "6ms":
        return card.launcher(6_000), 6_000
    if kind == "cooperative":
        return card.launcher(400, how="cuLaunchCooperativeKernel"), 400
    if kind == "ex":
        return card.launcher(100, how="cuLaunchKernelEx"), 100
    if kind == "graph":
        return card.graph_launcher(50, nodes=20), 1000
    if kind == "streams":
        launchers = [card.launcher(60, card.stream()) for _ in range(4)]  # beside each other, on a real card
        return lambda: [launch() for launch in launchers] and None, 60
    if kind == "varying":  # by its data alone: the same kernel and shape
        launchers = [card.launcher(20)] * 19 + [card.launcher(2_000)]
        return lambda: [launch() for launch in random.sample(launchers, 20)] and None, 2380
    return card.launcher(500), 500


def length(card: Card, submit: Callable[[], None], about_us: float) -> float:
    """Microseconds of one piece, back to back with others of its kind: the least of several batches."""
    pieces = max(1, round(ALONE_BATCH_MS * 1000 / about_us))
    took = []
    for _ in range(ALONE_BATCHES):
        begin = time.monotonic()
        for _ in range(pieces):
            submit()
        card.synchronize()
        took.append((time.monotonic() - begin) * 1e6 / pieces)
    return min(took)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--device", type=int, default=0)
    parser.add_argument("--loops-of-us", type=float, default=0.0, help="as `calibrate` found it")
    parser.add_argument("--length-us", type=float, default=0.0, help="of one piece, as --alone found it")
    parser.add_argument("--alone", action="store_true", help="find out how long one piece takes")
    options = parser.parse_args()
    card = Card(options.device)
    card.calibrate(options.loops_of_us or 100.0)
    submit, nominal_us = prepare(card, options.kind)
    submit()
    card.synchronize()
    if options.alone:
        print(json.dumps({"kind": options.kind, "length_us": length(card, submit, nominal_us)}))
        return
    print("started", flush=True)
    length_us = options.length_us or nominal_us
    between = 1 if options.kind == "sync" else max(1, round(BETWEEN_WAITS_MS * 1000 / nominal_us))
    done, begin = 0, time.monotonic()
    while time.monotonic() - begin < options.seconds:
        for _ in range(between):
            submit()
        card.synchronize()
        done += between
    elapsed = time.monotonic() - begin
    share = done * length_us / 1e6 / elapsed
    print(json.dumps({"kind": options.kind, "done": done, "elapsed": elapsed, "device_share": share}))


if __name__ == "__main__":
    main()

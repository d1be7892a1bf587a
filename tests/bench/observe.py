"""A node's scrape of 8 cards and 200 shares, and the monitor's page with 500 cards and 5 000 shares.

    python -m tests.bench.observe

The scrape's peer is prometheus_client, asked in the same run to print the same samples and nothing else: it
reads no ledger and asks no driver. The page is timed by the browser itself, over a page that draws nothing.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from hami_dra.model.reading import CardReading, DriverProcess
from hami_dra.observe.holders import Grant
from hami_dra.observe.node_usage import NodeUsage
from tests.support.browser import Browser
from tests.support.cluster_page import cluster, serving
from tests.support.limited import SimulatedShares

CARDS, SHARES, PROCESSES, ROUNDS = 8, 200, 24, 30
GOAL_MS = 50.0
PAGE_GOAL_MS = 1000.0


class Driver:
    """Cards at once: NVML's own time is the driver's."""

    def cards(self) -> list[CardReading]:
        return [
            CardReading(f"GPU-{i}", i, "NVIDIA A10", True, 1 << 30, 23 << 30, 0.5, 0.1, 40, 80.0)
            for i in range(CARDS)
        ]

    def processes(self) -> list[DriverProcess]:
        return []


class Same(Collector):
    """The samples of a text, for prometheus_client to print."""

    def __init__(self, text: str) -> None:
        self._families = list(text_string_to_metric_families(text))

    def collect(self) -> list[Metric]:
        return self._families


def main() -> int:
    return max(scrape(), page())


def scrape() -> int:
    """Print the times of a scrape; 1 when the goal is missed."""
    with tempfile.TemporaryDirectory() as folder:
        node = SimulatedShares(Path(folder))
        ids = [f"{number:08d}-a7ec-4a30-9782-634885c0c728" for number in range(SHARES)]
        for share_id in ids:
            node.add(share_id)
        try:
            for share_id in ids[:PROCESSES]:
                node.hold(share_id, "100Mi")
            grants = [
                Grant("ml", f"train-{i}", "cuda", "half", "hami-gpu-0", each) for i, each in enumerate(ids)
            ]
            usage = NodeUsage("n1", Path(folder), Driver(), lambda: grants, legacy=True)
            text = usage.text()
            registry = CollectorRegistry()
            registry.register(Same(text))
            ours, peer = [], []
            for _ in range(ROUNDS):
                ours.append(timed(usage.text))
                peer.append(timed(lambda: generate_latest(registry)))
        finally:
            node.close()
    mine, theirs = statistics.median(ours), statistics.median(peer)
    lines = sum(not line.startswith("#") for line in text.splitlines())
    print(
        f"scrape of {CARDS} cards and {SHARES} shares, {PROCESSES} processes, {lines} samples, all files read"
    )
    print(f"  ours              p50 {mine:6.1f} ms   max {max(ours):6.1f} ms   (goal {GOAL_MS:.0f})")
    print(f"  prometheus_client p50 {theirs:6.1f} ms   max {max(peer):6.1f} ms   its text alone")
    print(f"  ratio {mine / theirs:.2f}")
    return int(mine > GOAL_MS)


def page() -> int:
    """Print the browser's own times of the page; 1 when the goal is missed."""
    times = {}
    with Browser() as browser:
        for cards, shares in ((0, 0), (500, 5000)):
            with serving(cluster(cards, shares, 50 if cards else 0)) as address:
                browser.open(address)
                drawn = [float(browser.script(DRAW)) for _ in range(10)]
                painted = browser.script(PAINTED)
                times[cards] = statistics.median(drawn), float(painted)
    print("page in headless Chromium: median of 10 redraws, and load to first paint")
    for cards, (drawn_ms, painted_ms) in times.items():
        print(f"  {cards:3} cards  {drawn_ms:7.1f} ms   {painted_ms:7.1f} ms")
    print(f"  (goal {PAGE_GOAL_MS:.0f} ms for 500 cards with 5000 shares)")
    return int(times[500][0] > PAGE_GOAL_MS)


DRAW = "draw(), document.documentElement.dataset.renderMs"
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that WORK takes."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


if __name__ == "__main__":
    sys.exit(main())

"""How near a program comes to its part of the card's time, alone and beside another tenant."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.frame import OURS, PEER, PYTHON, Bench, Row, Share, finish
from tests.support.agent import at_work

KINDS = ("tiny", "long", "sync", "graph", "cooperative", "varying", "streams")
PAIRS = (
    ("graph", "graph"),
    ("tiny", "long"),
    ("long", "tiny"),
    ("long", "long"),
    ("long", "graph"),
    ("2ms", "graph"),
    ("2ms", "sync"),
    ("6ms", "tiny"),
    ("6ms", "6ms"),
    ("varying", "long"),
    ("varying", "sync"),
    ("streams", "graph"),
)
LIMIT = 50


def rows(bench: Bench) -> Iterator[Row]:
    """Kinds of work at one limit, then pairs."""
    seconds = 10.0 if bench.full else 4.0
    for kind in KINDS:
        got = {}
        for variant in bench.variants:
            with bench.share(cores=LIMIT) as share:
                got[variant] = part(finish(work(bench, variant, share, kind, seconds)))
        yield Row(
            f"cores {LIMIT}, {kind} work, {seconds:.0f} s: part of the card",
            f"{LIMIT} +- 2 %",
            *(f"{100 * got[variant]:.1f} %" if variant in got else "" for variant in ("without", OURS, PEER)),
        )
    for kinds in PAIRS:
        yield pair(bench, kinds, seconds)


def pair(bench: Bench, kinds: tuple[str, str], seconds: float) -> Row:
    """Two containers, 30 and 70, that both want all of the card, each with its kind of work."""
    told = {}
    for variant in bench.variants:
        with bench.share(cores=30) as small, bench.share(cores=70) as large, agent(small, large):
            shares = zip((small, large), kinds, strict=True)
            programs = [work(bench, variant, share, kind, seconds) for share, kind in shares]
            one, other = (part(finish(each)) for each in programs)
        told[variant] = f"{100 * one:.1f} : {100 * other:.1f} = {other / one:.2f}"
    return Row(
        f"pair 30:70 on one card, {kinds[0]} and {kinds[1]} work",
        "2.33 +- 5 %",
        told["without"],
        told[OURS],
        told.get(PEER, ""),
    )


def work(bench: Bench, variant: str, share: Share, kind: str, seconds: float) -> subprocess.Popen[str]:
    """Start a program that computes."""
    return bench.start(variant, share, PYTHON, "-m", "tests.gpu.work", kind, "--seconds", str(seconds))


def part(said: str) -> float:
    """The part of the card's time that a program says it got."""
    return float(json.loads(said)["device_share"])


@contextmanager
def agent(*shares: Share) -> Iterator[None]:
    """The node's agent beside the containers."""
    with tempfile.TemporaryDirectory() as folder:
        for number, share in enumerate(shares):
            (Path(folder) / str(number)).symlink_to(share.container / "one")
        with at_work(Path(folder)):
            yield

"""The checks of what the limiter costs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from tests.bench.frame import calls
from tests.gpu import torch_programs
from tests.gpu.finding import Finding
from tests.gpu.host import Container, Host

CALLS = (("launch", "500", 0, 10), ("launch", "500", 100, 40), ("alloc", "30", 0, 250))
"""What, how many rounds, core limit, and how many ns it may add."""


def single_calls(host: Host) -> Iterator[Finding]:
    """Launch and allocation, in the C program of the benchmarks."""
    for what, rounds, limit, most in CALLS:

        def took(container: Container | None, what: str = what, rounds: str = rounds) -> float:
            return float(host.run(container, calls(), what, rounds))

        plain, ours, peer = in_turn(host, limit, took, 1 if host.simulated else 9)
        yield Finding(
            ours - plain <= most,
            f"+{most} ns at cores {limit}",
            f"{what} {plain:.0f} ns, {ours - plain:+.0f}" + (f", peer {peer - plain:+.0f}" if peer else ""),
        )


def torch_train(host: Host) -> Iterator[Finding]:
    """What training loses, with no core limit and with one that is not reached."""
    if not host.torch:
        yield Finding(None, "PyTorch and a real card", "not here")
        return

    def took(container: Container | None) -> float:
        return float(host.run(container, sys.executable, "-c", torch_programs.TRAIN))

    for limit, most in ((0, 0.5), (100, 1.0)):
        plain, ours, peer = in_turn(host, limit, took, 3)
        loss = f"{100 * (ours / plain - 1):+.2f} %" + (
            f", peer {100 * (peer / plain - 1):+.2f} %" if peer else ""
        )
        yield Finding(100 * (ours / plain - 1) <= most, f"at most {most} % at cores {limit}", loss)


def in_turn(
    host: Host, cores: int, measure: Callable[[Container | None], float], repeats: int
) -> tuple[float, float, float]:
    """The least of REPEATS figures without a limiter, with ours and with the peer (0 without one)."""
    plain, ours, peer = [], [], []
    for _ in range(repeats):
        plain.append(measure(None))
        with host.share("one", cores=cores) as share:
            ours.append(measure(share))
        if host.peer:
            with host.peer_container("one", cores=cores) as other:
                peer.append(measure(other))
    return min(plain), min(ours), min(peer, default=0.0)

"""What a program without a GPU pays, and what the first CUDA call costs one process and many at once."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

from tests.bench.frame import GIB, OURS, PEER, WITHOUT, Bench, Row, calls, finish, percentile

PATIENCE_S = 60.0


def rows(bench: Bench) -> Iterator[Row]:
    """A program that uses no GPU; then a row for each number of processes."""
    yield loading(bench, 2000 if bench.full else 400)
    for processes in (1, 16, 64, 300) if bench.full else (1, 16, 48):
        took = {variant: starts(bench, variant, processes) for variant in bench.variants}
        plain = took[WITHOUT]
        told = {
            variant: f"{each[0] - plain[0]:+.1f} / {each[1] - plain[1]:+.1f} ms"
            for variant, each in took.items()
        }
        yield Row(
            f"first CUDA call until memory, {processes} at once, p50 / p99",
            "+1 ms",
            f"{plain[0]:.1f} / {plain[1]:.1f} ms",
            told["ours"],
            told.get(PEER, ""),
        )


def loading(bench: Bench, rounds: int) -> Row:
    """Start /bin/true, which only loads the library; the least of three quartiles, as noise only adds."""
    took: dict[str, list[float]] = {variant: [] for variant in bench.variants}
    for _ in range(3):
        for variant, values in took.items():
            with bench.share() as share:
                values.append(float(bench.run(variant, share, calls(), "spawn", str(rounds))))
    plain = min(took[WITHOUT])
    told = {variant: f"{min(values) - plain:+.0f} us" for variant, values in took.items()}
    return Row("start a program without a GPU", "+100 us", f"{plain:.0f} us", told[OURS], told.get(PEER, ""))


def starts(bench: Bench, variant: str, processes: int) -> tuple[float, float]:
    """Milliseconds, p50 and p99; one process is tried twenty times."""
    took = []
    with bench.share(memory=80 * GIB) as share:
        for _ in range(20 if processes == 1 else 1):
            at = time.monotonic_ns() + processes * 8_000_000
            started = [bench.start(variant, share, calls(), "start", str(at)) for _ in range(processes)]
            took += [milliseconds(each) for each in started]
    return percentile(took, 50), percentile(took, 99)


def milliseconds(process: subprocess.Popen[str]) -> float:
    """What the process says; the whole patience when it hangs."""
    try:
        return float(finish(process, timeout=PATIENCE_S))
    except subprocess.TimeoutExpired:
        return PATIENCE_S * 1000

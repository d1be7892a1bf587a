"""What single calls cost more under a limiter: launches and allocations, in a C program."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench.frame import PEER, WITHOUT, Bench, Row, calls, finish, median


def rows(bench: Bench) -> Iterator[Row]:
    """Launch without and with a core limit; allocate and free alone and among 16 processes."""
    rounds = "2000" if bench.full else "300"
    yield added(bench, "launch, no core limit", "+10 ns", 0, "launch", rounds)
    yield added(bench, "launch, core limit set and not reached", "+40 ns", 100, "launch", rounds)
    yield added(bench, "allocate and free 4 KiB, alone", "+250 ns", 0, "alloc", rounds)
    yield crowd(bench, 16, "1000" if bench.full else "200")


def added(bench: Bench, what: str, goal: str, cores: int, *arguments: str) -> Row:
    """Run all variants in turn, several times; the least median of each is what the machine's noise left."""
    took: dict[str, list[float]] = {variant: [] for variant in bench.variants}
    for _ in range(9 if bench.full else 5):
        for variant, values in took.items():
            with bench.share(cores=cores) as share:
                values.append(float(bench.run(variant, share, calls(), *arguments)))
    return compared(what, goal, {variant: min(values) for variant, values in took.items()})


def crowd(bench: Bench, processes: int, rounds: str) -> Row:
    """Allocate in so many processes of one container at once."""
    took = {}
    for variant in bench.variants:
        with bench.share() as share:
            started = [bench.start(variant, share, calls(), "alloc", rounds) for _ in range(processes)]
            took[variant] = median([float(finish(each)) for each in started])
    return compared(f"allocate and free 4 KiB, {processes} processes at once", "+2 us", took)


def compared(what: str, goal: str, took: dict[str, float]) -> Row:
    """The plain figure, and what each variant adds to it."""
    plain = took.pop(WITHOUT)
    told = {variant: f"{value - plain:+.0f} ns" for variant, value in took.items()}
    return Row(what, goal, f"{plain:.0f} ns", told["ours"], told.get(PEER, ""))

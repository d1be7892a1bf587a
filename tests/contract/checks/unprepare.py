"""What NodeUnprepareResources answers."""

from __future__ import annotations

from tests.contract.bench import Bench
from tests.contract.check import required


@required
def without_the_claim(bench: Bench) -> None:
    """Unprepare works when the claim is gone from the API, and works twice"""
    claim = bench.claim(bench.result())
    assert not bench.prepare(claim).error
    bench.forget(claim)
    for _ in range(2):
        answer = bench.unprepare(claim)
        assert not answer.error, answer.error


@required
def never_prepared(bench: Bench) -> None:
    """Unprepare of a claim that was never prepared is no error"""
    claim = bench.claim(bench.result())
    bench.forget(claim)
    answer = bench.unprepare(claim)
    assert not answer.error, answer.error

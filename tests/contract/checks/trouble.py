"""Killed, rebooted, damaged, cut off."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from tests.contract.bench import Bench, cdi_ids
from tests.contract.check import Skipped, own_api, own_process, required, wanted
from tests.support.fake_kube import FakeKube, Gate
from tests.support.kubelet import LOOK_S
from tests.support.waiting import until


@contextmanager
def failing(api: FakeKube, times: int) -> Iterator[None]:
    """The next requests for a claim fail."""
    api.fail_on = ("get", "resourceclaims", times)
    try:
        yield
    finally:
        api.fail_on = None


@wanted
def api_blinks(bench: Bench) -> None:
    """Three failed API requests are absorbed inside the call: kubelet would wait 10 s and more"""
    api = own_api(bench)
    with bench.claimed(bench.result()) as claim, failing(api, 3):
        answer = bench.prepare(claim)
        assert not answer.error, answer.error


@wanted
def api_is_away(bench: Bench) -> None:
    """While the API is away, kubelet hears so before it gives the call up"""
    api = own_api(bench)
    with bench.claimed(bench.result()) as claim, failing(api, sys.maxsize):
        bench.refused_claim(claim, why="nobody could read the claim")


@required
def killed(bench: Bench) -> None:
    """Killed and started again it still knows its claims: prepare is the same, unprepare leaves nothing"""
    own_process(bench)
    with bench.prepared() as (claim, before):
        bench.end(signal.SIGKILL)
        bench.start()
        again = bench.prepare(claim)
        assert not again.error, again.error
        assert cdi_ids(again) == cdi_ids(before)
        bench.forget(claim)
        assert not bench.unprepare(claim).error


@wanted
def rebooted(bench: Bench) -> None:
    """After a reboot (CDI folder empty) it makes the files of running Pods anew without being asked"""
    own_process(bench)
    if bench.cdi is None:
        raise Skipped("no --cdi-dir")
    with bench.prepared() as (claim, _):
        bench.end(signal.SIGKILL)
        shutil.rmtree(bench.cdi)
        bench.cdi.mkdir()
        bench.start()
        folder, uid = bench.cdi, claim["metadata"]["uid"]
        until(lambda: any(uid in path.read_text() for path in folder.iterdir()), "the CDI file", 10)


@wanted
def damaged_state(bench: Bench) -> None:
    """With a damaged checkpoint it starts, and prepares"""
    own_process(bench)
    with bench.prepared() as (claim, _):
        folders = {Path(bench.kubelet.info.endpoint).parent, *(bench.state or ())}
        bench.end()
        files = [path for folder in folders for path in folder.rglob("checkpoint.json")]
        if not files:
            bench.start()
            raise Skipped("no checkpoint.json found")
        for path in files:
            path.write_bytes(path.read_bytes()[:-7])
        bench.start()
        assert not bench.prepare(claim).error


@wanted
def ends_after_its_calls(bench: Bench) -> None:
    """SIGTERM in the middle of a call: it is answered, before kubelet is made to close the connection"""
    api, process = own_api(bench), own_process(bench)
    with bench.claimed(bench.result()) as claim, ThreadPoolExecutor() as kubelet:
        gate = api.gate = Gate("get", "resourceclaims", claim["metadata"]["name"])
        call = kubelet.submit(bench.prepare, claim)
        try:
            until(lambda: gate.reached.is_set() or call.done(), "the request for the claim")
            if call.done():
                raise Skipped("it does not ask the API server in the middle of a call")
            process.terminate()
            wait([call], timeout=10 * LOOK_S)  # as long as it takes kubelet to see a registration go
            gate.opened.set()
            assert not call.result().error, call.result().error
        finally:
            gate.opened.set()
            bench.end()
            bench.start()


@wanted
def ends_cleanly(bench: Bench) -> None:
    """SIGTERM takes the registration socket away"""
    own_process(bench)
    path = bench.kubelet.socket
    bench.end()
    left = path is not None and path.exists()
    bench.start()
    assert not left, f"{path} is still there"

"""Killed, rebooted, damaged, cut off."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

from tests.contract.bench import Bench, cdi_ids, until
from tests.contract.check import Skipped, own_api, own_process, required, wanted


@wanted
def api_blinks(bench: Bench) -> None:
    """Three failed API requests are absorbed inside the call: kubelet would wait 10 s and more"""
    api = own_api(bench)
    claim = bench.claim(bench.result())
    try:
        api.fail_on = ("get", "resourceclaims", 3)
        answer = bench.prepare(claim)
        assert not answer.error, answer.error
    finally:
        api.fail_on = None
        bench.unprepare(claim)
        bench.forget(claim)


@wanted
def api_is_away(bench: Bench) -> None:
    """While the API is away, kubelet hears so before it gives the call up after 45 s"""
    api = own_api(bench)
    claim = bench.claim(bench.result())
    try:
        api.fail_on = ("get", "resourceclaims", sys.maxsize)
        bench.refused_claim(claim, why="nobody could read the claim")
    finally:
        api.fail_on = None
        bench.unprepare(claim)
        bench.forget(claim)


@required
def killed(bench: Bench) -> None:
    """Killed and started again it still knows its claims: prepare is the same, unprepare leaves nothing"""
    own_process(bench)
    claim = bench.claim(bench.result())
    before = bench.prepare(claim)
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
def ends_cleanly(bench: Bench) -> None:
    """SIGTERM takes the registration socket away"""
    own_process(bench)
    path = bench.kubelet.socket
    bench.end()
    left = path is not None and path.exists()
    bench.start()
    assert not left, f"{path} is still there"

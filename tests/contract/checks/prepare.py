"""What NodePrepareResources answers."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import grpc

from tests.contract.bench import Bench, cdi_ids
from tests.contract.check import Skipped, required, wanted
from tests.support.kubelet import Kubelet

CDI_NAME = re.compile(r"[\w.-]+/[\w.-]+=[\w.:-]+")


@required
def an_allocated_claim(bench: Bench) -> None:
    """An allocated claim is answered with its device and CDI names"""
    result = bench.result()
    with bench.prepared(result) as (_, answer):
        (device,) = answer.devices
        assert (device.pool_name, device.device_name) == (result["pool"], result["device"])
        assert list(device.request_names) in ([], ["r0"]), list(device.request_names)
        assert device.cdi_device_ids, "no CDI name"
        for name in device.cdi_device_ids:
            assert CDI_NAME.fullmatch(name), f"{name!r} is no qualified CDI name"


@required
def cdi_files_are_there(bench: Bench) -> None:
    """The CDI files are there when the call returns, and gone after unprepare"""
    if bench.cdi is None:
        raise Skipped("no --cdi-dir")
    with bench.prepared() as (claim, answer):
        (device,) = answer.devices
        text = "".join(path.read_text() for path in bench.cdi.iterdir() if path.is_file())
        ours = [name.partition("=")[2] for name in device.cdi_device_ids]
        assert any(name and name in text for name in ours), f"no file has a device of {ours}"
    text = "".join(path.read_text() for path in bench.cdi.iterdir() if path.is_file())
    assert claim["metadata"]["uid"] not in text, "unprepare left a CDI file"


@required
def again_is_the_same(bench: Bench) -> None:
    """Preparing a claim again gives the same answer"""
    with bench.prepared() as (claim, answer):
        again = bench.prepare(claim)
        assert not again.error, again.error
        assert str(again) == str(answer)


@wanted
def an_entry_for_each(bench: Bench) -> None:
    """In a call with a good and a missing claim the good one is prepared"""
    with bench.claimed(bench.result()) as good, bench.claimed(bench.result()) as missing:
        bench.forget(missing)
        answers = bench.kubelet.prepare(good, missing)
        assert not answers[good["metadata"]["uid"]].error, answers[good["metadata"]["uid"]].error
        assert answers[missing["metadata"]["uid"]].error


@required
def at_once(bench: Bench) -> None:
    """The same claim asked for several times at once is prepared once and answered alike"""
    with bench.claimed(bench.result()) as claim, ThreadPoolExecutor(8) as pool:
        answers = [str(each) for each in pool.map(bench.prepare, [claim] * 8)]
        assert len(set(answers)) == 1, answers
        assert "error" not in answers[0], answers[0]


@required
def kubelet_hangs_up(bench: Bench) -> None:
    """A kubelet that hangs up in the middle of a call can ask again"""
    with bench.claimed(bench.result()) as claim:
        for timeout_s in (0.001, 0.003):
            with suppress(grpc.RpcError):
                bench.kubelet.prepare(claim, timeout_s=timeout_s)
        answer = bench.prepare(claim)
        assert not answer.error, answer.error


@wanted
def nothing_asked(bench: Bench) -> None:
    """An empty request, as probes send it, is answered within 100 ms"""
    took = []
    for _ in range(20):  # the fastest counts: the machine may be busy with other things
        started = time.monotonic()
        assert dict(bench.kubelet.prepare()) == {}
        took.append(time.monotonic() - started)
    assert min(took) < 0.1, f"took {min(took):.3f} s"


@required
def both_versions_say_the_same(bench: Bench) -> None:
    """An older kubelet hears the same devices through v1beta1"""
    if "v1beta1.DRAPlugin" not in bench.kubelet.info.supported_versions:
        raise Skipped("v1beta1 is not offered")
    older = Kubelet(bench.registry, prefer="v1beta1", driver=bench.driver)
    older.register()
    try:
        with bench.prepared() as (claim, answer):
            theirs = older.prepare(claim)[claim["metadata"]["uid"]]
            assert not theirs.error, theirs.error
            assert cdi_ids(theirs) == cdi_ids(answer)
    finally:
        older.close()

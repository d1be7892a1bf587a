"""What kubelet, scheduler and administrators expect of any DRA driver, one check each.

`required`: kubelet or the API says so. The others are what a driver needs to survive a bad day; a driver can
be correct without them. A check raises AssertionError with what it saw.
"""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from hami_dra.kube import RESOURCE_CLAIMS, RESOURCE_SLICES
from hami_dra.model import errors
from hami_dra.model.quantity import parse_int
from tests.contract.bench import Bench, until
from tests.support.kubelet import HEALTH, Kubelet

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
CDI_NAME = re.compile(r"[\w.-]+/[\w.-]+=[\w.:-]+")


class Skipped(Exception):
    """The check does not apply to this driver; the message says why."""


@dataclass(frozen=True)
class Check:
    """One expectation. `name` says it in a sentence."""

    group: str
    name: str
    required: bool
    run: Callable[[Bench], None]


CHECKS: list[Check] = []


Run = Callable[[Bench], None]


def check(group: str, *, required: bool = True) -> Callable[[Run], Run]:
    """Register a check; the first line of its docstring is its name."""

    def add(function: Run) -> Run:
        CHECKS.append(Check(group, (function.__doc__ or "").strip().rstrip("."), required, function))
        return function

    return add


# --- Registration ------------------------------------------------------------------------------------------


@check("registration")
def says_who_it_is(bench: Bench) -> None:
    """GetInfo names type, driver and the path of a socket that exists"""
    info = bench.kubelet.info
    assert info.type == "DRAPlugin", f"type is {info.type!r}"
    assert SUBDOMAIN.fullmatch(info.name), f"{info.name!r} is no DNS subdomain"
    assert len(info.name) <= 63
    assert Path(info.endpoint).is_absolute(), info.endpoint
    assert Path(info.endpoint).is_socket(), info.endpoint


@check("registration")
def offers_v1_first(bench: Bench) -> None:
    """v1.DRAPlugin is offered, before older versions"""
    offered = [each for each in bench.kubelet.info.supported_versions if each.endswith(".DRAPlugin")]
    assert offered[:1] == ["v1.DRAPlugin"], f"offered: {list(bench.kubelet.info.supported_versions)}"


@check("registration")
def registers_again(bench: Bench) -> None:
    """A kubelet that restarts can register it again"""
    bench.kubelet.register()
    bench.kubelet.prepare()


@check("registration", required=False)
def outlives_a_refusal(bench: Bench) -> None:
    """A refused registration does not end it"""
    with grpc.insecure_channel(f"unix:{bench.kubelet.socket}") as channel, suppress(grpc.RpcError):
        bench.kubelet.notify(channel, well=False, error="conformance: refused once")
    time.sleep(0.5)
    bench.kubelet.register()
    bench.kubelet.prepare()


# --- Prepare -----------------------------------------------------------------------------------------------


@check("prepare")
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


@check("prepare")
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


@check("prepare")
def again_is_the_same(bench: Bench) -> None:
    """Preparing a claim again gives the same answer"""
    with bench.prepared() as (claim, answer):
        again = bench.prepare(claim)
        assert not again.error, again.error
        assert str(again) == str(answer)


@check("prepare", required=False)
def an_entry_for_each(bench: Bench) -> None:
    """In a call with a good and a missing claim the good one is prepared"""
    good, missing = bench.claim(bench.result()), bench.claim(bench.result())
    bench.forget(missing)
    try:
        answers = bench.kubelet.prepare(good, missing)
        assert not answers[good["metadata"]["uid"]].error, answers[good["metadata"]["uid"]].error
        assert answers[missing["metadata"]["uid"]].error
    finally:
        bench.kubelet.unprepare(good, missing)
        bench.forget(good)


@check("prepare")
def at_once(bench: Bench) -> None:
    """The same claim asked for several times at once is prepared once and answered alike"""
    claim = bench.claim(bench.result())
    try:
        with ThreadPoolExecutor(8) as pool:
            answers = [str(each) for each in pool.map(bench.prepare, [claim] * 8)]
        assert len(set(answers)) == 1, answers
        assert "error" not in answers[0], answers[0]
    finally:
        bench.unprepare(claim)
        bench.forget(claim)


@check("prepare")
def kubelet_hangs_up(bench: Bench) -> None:
    """A kubelet that hangs up in the middle of a call can ask again"""
    claim = bench.claim(bench.result())
    try:
        for timeout_s in (0.001, 0.003):
            try:
                bench.kubelet.prepare(claim, timeout_s=timeout_s)
            except grpc.RpcError:
                continue
        answer = bench.prepare(claim)
        assert not answer.error, answer.error
    finally:
        bench.unprepare(claim)
        bench.forget(claim)


@check("prepare", required=False)
def nothing_asked(bench: Bench) -> None:
    """An empty request, as probes send it, is answered within 100 ms"""
    started = time.monotonic()
    assert dict(bench.kubelet.prepare()) == {}
    took = time.monotonic() - started
    assert took < 0.1, f"took {took:.3f} s"


@check("prepare")
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
            assert _ids(theirs) == _ids(answer)
    finally:
        older.close()


def _ids(answer: Any) -> list[list[str]]:
    return [list(device.cdi_device_ids) for device in answer.devices]


# --- Refusals ----------------------------------------------------------------------------------------------


@check("refusal")
def another_uid(bench: Bench) -> None:
    """A claim of the same name and another uid is refused"""
    old = bench.claim(bench.result())
    bench.forget(old)
    body = {**old, "metadata": {"name": old["metadata"]["name"], "namespace": "default"}}
    status = {"status": body.pop("status")}
    bench.kube.create(RESOURCE_CLAIMS, body, "default")
    bench.kube.patch(RESOURCE_CLAIMS, old["metadata"]["name"], status, "default", subresource="status")
    try:
        bench.refused_claim(old, why="another claim was allocated that")
    finally:
        bench.unprepare(old)
        bench.forget(old)


@check("refusal")
def not_allocated(bench: Bench) -> None:
    """A claim that is not allocated is refused"""
    bench.refused(why="the claim is not allocated")


@check("refusal")
def unknown_device(bench: Bench) -> None:
    """A device that does not exist is refused"""
    bench.refused(bench.result(device="no-such-device"), why="the device does not exist")


@check("refusal")
def share_without_identity(bench: Bench) -> None:
    """A share without shareID (feature gate off) is refused"""
    _shared(bench)
    bench.refused(bench.result(shareID=None), why="it has no shareID")


@check("refusal")
def share_without_amounts(bench: Bench) -> None:
    """A share without consumedCapacity (feature gate off) is refused"""
    _shared(bench)
    bench.refused(bench.result(consumedCapacity=None), why="it has no consumedCapacity")


@check("refusal", required=False)
def given_away_twice(bench: Bench) -> None:
    """A device that is given away twice, as a whole or by sums of capacity, is refused"""
    _, device = bench.devices()[0]
    first = second = bench.result()
    if device.get("allowMultipleAllocations"):
        most = {name: each["value"] for name, each in device["capacity"].items()}
        first, second = bench.result(consumedCapacity=most), bench.result(consumedCapacity=most)
        assert any(parse_int(value) > 0 for value in most.values())
    with bench.prepared(first):
        bench.refused(second, why="the device is in use as a whole")


def _shared(bench: Bench) -> None:
    if not bench.devices()[0][1].get("allowMultipleAllocations"):
        raise Skipped("its devices are not shared")


# --- Unprepare ---------------------------------------------------------------------------------------------


@check("unprepare")
def without_the_claim(bench: Bench) -> None:
    """Unprepare works when the claim is gone from the API, and works twice"""
    claim = bench.claim(bench.result())
    assert not bench.prepare(claim).error
    bench.forget(claim)
    for _ in range(2):
        answer = bench.unprepare(claim)
        assert not answer.error, answer.error


@check("unprepare")
def never_prepared(bench: Bench) -> None:
    """Unprepare of a claim that was never prepared is no error"""
    claim = bench.claim(bench.result())
    bench.forget(claim)
    answer = bench.unprepare(claim)
    assert not answer.error, answer.error


# --- Trouble -----------------------------------------------------------------------------------------------


@check("trouble", required=False)
def api_blinks(bench: Bench) -> None:
    """Three failed API requests are absorbed inside the call: kubelet would wait 10 s and more"""
    api = _own_api(bench)
    claim = bench.claim(bench.result())
    try:
        api.fail_on = ("get", "resourceclaims", 3)
        answer = bench.prepare(claim)
        assert not answer.error, answer.error
    finally:
        api.fail_on = None
        bench.unprepare(claim)
        bench.forget(claim)


@check("trouble")
def killed(bench: Bench) -> None:
    """Killed and started again it still knows its claims: prepare is the same, unprepare leaves nothing"""
    _own_process(bench)
    claim = bench.claim(bench.result())
    before = bench.prepare(claim)
    bench.end(signal.SIGKILL)
    bench.start()
    again = bench.prepare(claim)
    assert not again.error, again.error
    assert _ids(again) == _ids(before)
    bench.forget(claim)
    assert not bench.unprepare(claim).error


@check("trouble", required=False)
def rebooted(bench: Bench) -> None:
    """After a reboot (CDI folder empty) it makes the files of running Pods anew without being asked"""
    _own_process(bench)
    if bench.cdi is None:
        raise Skipped("no --cdi-dir")
    with bench.prepared() as (claim, _):
        bench.end(signal.SIGKILL)
        shutil.rmtree(bench.cdi)
        bench.cdi.mkdir()
        bench.start()
        folder, uid = bench.cdi, claim["metadata"]["uid"]
        until(lambda: any(uid in path.read_text() for path in folder.iterdir()), "the CDI file", 10)


@check("trouble", required=False)
def damaged_state(bench: Bench) -> None:
    """With a damaged checkpoint it starts, and prepares"""
    _own_process(bench)
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


@check("trouble", required=False)
def ends_cleanly(bench: Bench) -> None:
    """SIGTERM takes the registration socket away"""
    _own_process(bench)
    path = bench.kubelet.socket
    bench.end()
    left = path is not None and path.exists()
    bench.start()
    assert not left, f"{path} is still there"


def _own_api(bench: Bench) -> Any:
    if bench.api is None:
        raise Skipped("the API server is not ours")
    return bench.api


def _own_process(bench: Bench) -> None:
    if not bench.command:
        raise Skipped("the driver was not started by us")


# --- Slices ------------------------------------------------------------------------------------------------


@check("slices")
def pool_is_complete(bench: Bench) -> None:
    """The pool is complete: one generation, as many slices as it says, names unique"""
    bench.devices()
    pools = [item["spec"]["pool"] for item in bench.slices()]
    for name in {pool["name"] for pool in pools}:
        mine = [pool for pool in pools if pool["name"] == name]
        newest = max(pool["generation"] for pool in mine)
        current = [pool for pool in mine if pool["generation"] == newest]
        assert {pool["resourceSliceCount"] for pool in current} == {len(current)}
    names = [(pool, device["name"]) for pool, device in bench.devices()]
    assert len(set(names)) == len(names), "a device name comes twice"


@check("slices")
def wiped_slices_come_back(bench: Bench) -> None:
    """Slices that kubelet wiped come back within 60 s"""
    bench.devices()
    for item in bench.slices():
        bench.kube.delete(RESOURCE_SLICES, item["metadata"]["name"])
    until(bench.slices, "the slices", 60)


@check("slices", required=False)
def changed_slices_are_put_back(bench: Bench) -> None:
    """A slice that somebody else changed is put back within 60 s"""
    bench.devices()
    item = bench.slices()[0]
    name = item["spec"]["devices"][0]["name"]
    item["spec"]["devices"] = item["spec"]["devices"][1:]
    try:
        bench.kube.replace(RESOURCE_SLICES, item)
    except errors.Conflict:
        raise Skipped("it publishes all the time") from None
    until(lambda: name in [device["name"] for _, device in bench.devices()], "the device", 60)


# --- Health ------------------------------------------------------------------------------------------------


@check("health")
def health_is_told(bench: Bench) -> None:
    """DRAResourceHealth, where it is offered, tells every device at once"""
    _offers_health(bench)
    first = next(bench.kubelet.health(5))
    told = {(each.device.pool_name, each.device.device_name) for each in first.devices}
    assert told == {(pool, device["name"]) for pool, device in bench.devices()}


@check("health")
def health_is_told_again(bench: Bench) -> None:
    """and again before kubelet forgets it after 30 s"""
    _offers_health(bench)
    stream = bench.kubelet.health(29)
    next(stream)
    assert next(stream, None) is not None, "nothing came for 29 s"


def _offers_health(bench: Bench) -> None:
    if not {f"{version}.DRAResourceHealth" for version in HEALTH} & set(
        bench.kubelet.info.supported_versions
    ):
        raise Skipped("it is not offered")

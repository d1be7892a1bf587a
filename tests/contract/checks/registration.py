"""How a driver makes itself known, and kubelet to it."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from pathlib import Path

import grpc

from tests.contract.bench import Bench
from tests.contract.check import required, wanted

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


@required
def says_who_it_is(bench: Bench) -> None:
    """GetInfo names type, driver and the path of a socket that exists"""
    info = bench.kubelet.info
    assert info.type == "DRAPlugin", f"type is {info.type!r}"
    assert SUBDOMAIN.fullmatch(info.name), f"{info.name!r} is no DNS subdomain"
    assert len(info.name) <= 63
    assert Path(info.endpoint).is_absolute(), info.endpoint
    assert Path(info.endpoint).is_socket(), info.endpoint


@required
def offers_v1_first(bench: Bench) -> None:
    """v1.DRAPlugin is offered, before older versions"""
    offered = [each for each in bench.kubelet.info.supported_versions if each.endswith(".DRAPlugin")]
    assert offered[:1] == ["v1.DRAPlugin"], f"offered: {list(bench.kubelet.info.supported_versions)}"


@required
def serves_before_it_registers(bench: Bench) -> None:
    """Whenever it registers, its service answers already: kubelet dials it at once"""
    assert bench.kubelet.always_served, "GetInfo was answered before the service's socket was there"


@required
def registers_again(bench: Bench) -> None:
    """A kubelet that restarts can register it again"""
    bench.kubelet.register()
    bench.kubelet.prepare()


@wanted
def outlives_a_refusal(bench: Bench) -> None:
    """A refused registration does not end it"""
    with grpc.insecure_channel(f"unix:{bench.kubelet.socket}") as channel, suppress(grpc.RpcError):
        bench.kubelet.notify(channel, well=False, error="conformance: refused once")
    time.sleep(0.5)
    assert bench.process is None or bench.process.poll() is None, "the driver has ended"
    bench.kubelet.register(20)
    bench.kubelet.prepare()

"""Keeps this node's ResourceSlices in the API as planned: published, put back, checked for lost fields."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import structlog

from hami_dra.kube import NODES, RESOURCE_SLICES, KubeClient, version
from hami_dra.model import errors
from hami_dra.model.device import Device
from hami_dra.node import metrics, slices
from hami_dra.node.inventory import Inventory

log = structlog.get_logger(__name__)

# A watch that the server ends, or that dies in silence, costs at most this long.
WATCH_S = 60
PAUSE_S = 1.0

Slice = dict[str, Any]
Order = Callable[[Sequence[Device]], Sequence[Device]]


class Publisher:
    """Owns our slices of this node. `problem` says why they are not usable, None if they are.

    QUIET says that another plugin (of a newer Pod, during a rolling update) publishes: two versions that put
    back each other's slices would never come to rest. ORDER: which device the scheduler tries first.
    """

    def __init__(
        self,
        kube: KubeClient,
        node: str,
        driver: str,
        inventory: Inventory,
        quiet: Callable[[], bool] = lambda: False,
        order: Order = tuple,
    ) -> None:
        self._kube = kube
        self._node = node
        self._driver = driver
        self._inventory = self._planned = inventory  # the newest, and the one of the last sync
        self._news = threading.Event()
        self._quiet = quiet
        self._order = order
        self._fields = f"spec.nodeName={node},spec.driver={driver}"
        self._generation = 0
        self._stored: dict[str, Any] = {}  # spec by name, as the server answered it; None: outdated
        self._taints_kept = True
        self._dropped: str | None = None
        self._lock = threading.Lock()
        self.problem: str | None = "not published yet"

    def run(self, stop: threading.Event) -> None:
        """Publish, then watch and put back until STOP is set; problems are logged and tried again."""
        while not stop.is_set():
            self._ask_again()
            try:
                self._wait_for_change(self.sync(), stop)
            except errors.Gone:
                pass  # listed anew
            except errors.KubeError as problem:
                self._failed(problem)
            stop.wait(PAUSE_S)

    def run_updates(self, stop: threading.Event) -> None:
        """Publish what `update` brings, at once, and another order, at most once in PAUSE_S, until STOP.

        Problems are logged and tried again.
        """
        while not stop.is_set():
            if self._news.wait(PAUSE_S) or self._in_order() != self._planned:
                self._news.clear()
                try:
                    self.sync()
                except errors.KubeError as problem:
                    self._news.set()
                    self._failed(problem)
                    stop.wait(PAUSE_S)

    def update(self, inventory: Inventory) -> None:
        """Have another inventory published. Returns at once: who looks after the devices waits for no API
        server. `run_updates` does the work."""
        self._inventory = inventory
        self._news.set()

    def sync(self) -> str:
        """Make the API agree with the plan; return the resource version to watch from."""
        with self._lock:
            self._take_news()
            found, version = self._kube.list(RESOURCE_SLICES, fields=self._fields)
            self._generation = max([self._generation, *(_generation(item) for item in found)])
            quiet = self._quiet()
            if not quiet and not self._as_planned(found):
                self._publish(found)
            self.problem = None if quiet else self._dropped
            return version

    def _take_news(self) -> None:
        inventory = self._in_order()
        if inventory != self._planned:
            self._planned, self._stored = inventory, dict.fromkeys(self._stored)

    def _in_order(self) -> Inventory:
        newest = self._inventory
        return replace(newest, devices=tuple(self._order(newest.devices)))

    def _ask_again(self) -> None:
        """Write what the server did not keep once more: its feature gate may be on by now."""
        with self._lock:
            if self._dropped:
                self._stored = {}

    def _wait_for_change(self, version: str, stop: threading.Event) -> None:
        for event in self._kube.watch(RESOURCE_SLICES, version, fields=self._fields, timeout_s=WATCH_S):
            if stop.is_set():
                return
            if event.type == "BOOKMARK":
                continue
            name, gone = event.object["metadata"]["name"], event.type == "DELETED"
            with self._lock:  # so that our own writes are known by now
                ours = name in self._stored
                as_stored = ours and event.object["spec"] == self._stored[name]
            changed = ours if gone else not as_stored
            if changed:
                log.info("slice changed by someone else", slice=name, how=event.type)
                return

    def _as_planned(self, found: list[Slice]) -> bool:
        """Compare what is there with what the server stored for us or, after a start, with the plan."""
        if self._stored:
            return {item["metadata"]["name"]: item["spec"] for item in found} == self._stored
        plan = self._plan(self._generation)
        stands = {_first(item): slices.without_times(item["spec"]) for item in found}
        if len(found) != len(plan) or stands != {_first(item): item["spec"] for item in plan}:
            return False
        self._stored = {item["metadata"]["name"]: item["spec"] for item in found}
        return True

    def _publish(self, found: list[Slice], *, counters: bool = True) -> None:
        """Write every slice of the pool with the next generation, reusing objects; the rest goes last.

        The scheduler takes the highest generation, and none of the pool before all its slices are there.
        Without COUNTERS, what needs them is left out: the scheduler would give the same part away twice.
        """
        self._generation += 1
        plan = self._plan(self._generation, counters=counters)
        pages = {_first(body): body for body in plan}
        known = sorted(found, key=lambda item: item["metadata"]["name"] in self._stored)  # win, as the last
        same = {_first(item): item for item in known if _first(item) in pages}
        strays = [item for item in found if item not in same.values()]
        written = [
            self._write(body, same.get(first) or (strays.pop() if strays else None))
            for first, body in pages.items()
        ]
        for item in strays:
            self._delete(item)
        self._stored = {item["metadata"]["name"]: item["spec"] for item in written}
        metrics.PUBLISHES.inc()
        log.info(
            "slices published",
            slices=list(self._stored),
            devices=len(self._planned.devices),
            sick=sorted(self._planned.problems),
            generation=self._generation,
        )
        lost = [
            path
            for body, item in zip(plan, written, strict=True)
            for path in slices.dropped_fields(body["spec"], item["spec"])
        ]
        if self._taints_kept and any(path.endswith(".taints") for path in lost):
            log.warning(
                "the API server drops device taints (gate DRADeviceTaints): sick devices are left out"
            )
            self._taints_kept = False
            self._publish(written)
            return
        dropped = slices.dropped_message(lost)
        if dropped:
            log.error("slice fields dropped", error=dropped)
        if any("Counters" in path for path in lost):
            self._publish(written, counters=False)
        self._dropped = dropped

    def _plan(self, generation: int, *, counters: bool = True) -> list[Slice]:
        inventory, problems = self._planned, dict(self._planned.problems)
        devices = tuple(each for each in inventory.devices if counters or each.parts is None)
        if not self._taints_kept:
            devices, problems = tuple(each for each in devices if not inventory.fatal(each.name)), {}
        return slices.pool(
            self._node,
            self._driver,
            devices,
            problems,
            node_uid=self._kube.get(NODES, self._node)["metadata"]["uid"],  # another if it registered anew
            generation=generation,
            kubernetes=version.minor(self._kube),
        )

    def _write(self, body: Slice, old: Slice | None) -> Slice:
        if old is None:
            return self._kube.create(RESOURCE_SLICES, body)
        body["metadata"] |= {key: old["metadata"][key] for key in ("name", "resourceVersion")}
        return self._kube.replace(RESOURCE_SLICES, body)

    def _delete(self, item: Slice) -> None:
        with suppress(errors.NotFound):  # gone already: what we wanted
            self._kube.delete(RESOURCE_SLICES, item["metadata"]["name"], uid=item["metadata"]["uid"])

    def _failed(self, problem: errors.KubeError) -> None:
        self.problem = f"ResourceSlice not published: {problem}"
        metrics.PUBLISH_FAILURES.inc()
        log.warning("slices not published", error=str(problem))


def _first(item: Slice) -> str:
    """Name of the first device: tells the slices of a pool apart, so that each mostly stays what it was."""
    if counters := item["spec"].get("sharedCounters"):
        return f"counters of {counters[0]['name']}"
    devices = item["spec"].get("devices") or []
    return str(devices[0]["name"]) if devices else ""


def _generation(item: Slice) -> int:
    return int(item["spec"]["pool"]["generation"])

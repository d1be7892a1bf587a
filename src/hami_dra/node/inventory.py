"""The devices of this node and what is wrong with them: backend -> discover + health -> Inventory.

A device that was there and is gone stays known as `lost`, so that its claims show it and nothing new
lands on it, until it is back (under the same name, be it with another uuid, or cut into instances) or the
plugin starts anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from hami_dra.devices.backend import LOST, Backend, Problem
from hami_dra.model.device import Attribute, Device
from hami_dra.model.errors import DriverError
from hami_dra.node import metrics

log = structlog.get_logger(__name__)

POLL_S = 2.0
SILENT_S = 30.0
"""As long as kubelet believes a word about a device. Calls of NVML take seconds while a card falls off."""


@dataclass(frozen=True)
class Inventory:
    """One look at the devices. `problems` by device name; a device that is not in it is well. `silent`: why
    there are none, when the driver has not answered since the start."""

    devices: tuple[Device, ...]
    problems: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    silent: str = ""

    def fatal(self, device: str) -> tuple[Problem, ...]:
        """The problems for which no new share should land on DEVICE."""
        return tuple(problem for problem in self.problems.get(device, ()) if problem.fatal)


def merged(before: Inventory, found: Sequence[Device], problems: Sequence[Problem]) -> Inventory:
    """The next inventory: what was FOUND, what is missing of BEFORE as lost, and the PROBLEMS of both.

    What an administrator has cut anew (MIG) is not lost: its card is there, in another form. An instance that
    was cut on demand stays known, for it has to be unmade when its claim is given back.
    """
    names, cards = {device.name for device in found}, set(map(_card, found))
    lost = [
        device
        for device in before.devices
        if device.name not in names and (device.parts or _card(device) not in cards)
    ]
    said = [
        *problems,
        *(Problem(device.name, LOST, "the driver does not show it any more") for device in lost),
    ]
    devices = (*found, *lost)
    by_name = {device.name: [each for each in said if each.device == device.name] for device in devices}
    return Inventory(devices, {name: tuple(of) for name, of in by_name.items() if of})


def _card(device: Device) -> Attribute:
    """UUID of the card that DEVICE is, or is an instance of."""
    return device.attributes.get("parentUUID", device.uuid)


class DeviceWatch:
    """Polls BACKEND. `inventory` is the last look; `on_change` hears of every other one.

    MAY_BE_SILENT: begin also while the driver does not answer, else that is a DriverError.
    """

    def __init__(self, backend: Backend, *, may_be_silent: bool = False) -> None:
        self._backend = backend
        self._listeners: list[Callable[[Inventory], None]] = []
        self._telling = threading.Lock()
        self._looks_since: float | None = None
        try:
            devices = tuple(backend.discover())
            self.inventory = merged(Inventory(()), devices, backend.health(devices))
        except DriverError as problem:
            if not may_be_silent:
                raise
            log.error("started without the driver, to give claims back", error=str(problem))
            self.inventory = _silent(Inventory(()), str(problem))
        self._report(Inventory(()))

    def on_change(self, listener: Callable[[Inventory], None]) -> None:
        """Call LISTENER in a thread of the watch whenever devices or problems differ."""
        self._listeners.append(listener)

    def run(self, stop: threading.Event) -> None:
        """Poll until STOP is set."""
        while not stop.wait(POLL_S):
            self.poll()

    def run_beside(self, stop: threading.Event) -> None:
        """Tell until STOP is set when a look takes too long: a hanging driver would leave its last word."""
        while not stop.wait(POLL_S):
            began = self._looks_since
            if began is not None and time.monotonic() - began > SILENT_S:
                self._tell(_silent(self.inventory, f"the driver has not answered for {SILENT_S:.0f} s"))

    def poll(self) -> None:
        """Look once. A driver that does not answer makes every device sick: nobody can vouch for them."""
        before, self._looks_since = self.inventory, time.monotonic()
        try:
            devices = self._backend.discover()
            now = merged(before, devices, self._backend.health(devices))
        except (DriverError, OSError) as problem:
            now = _silent(before, str(problem))
        finally:
            self._looks_since = None
        self._tell(now)

    def _tell(self, now: Inventory) -> None:
        with self._telling:
            before, self.inventory = self.inventory, now
            if now == before:
                return
            self._report(before)
            if now.devices != before.devices:
                log.info("devices changed", devices={device.name: device.uuid for device in now.devices})
            for listener in self._listeners:
                listener(now)

    def _report(self, before: Inventory) -> None:
        """Log what is another problem now, and count every device as sick or not."""
        now, driver = self.inventory, self._backend.driver
        for name in {device.name for device in before.devices} - {device.name for device in now.devices}:
            metrics.SICK.remove(driver, name)
        for name in (device.name for device in now.devices):
            metrics.SICK.labels(driver, name).set(bool(now.fatal(name)))
            problems = now.problems.get(name, ())
            if problems == before.problems.get(name, ()):
                continue
            for each in problems:
                log.error("device problem", device=name, key=each.key, value=each.value, problem=each.message)
            if not problems:
                log.info("device recovered", device=name)


def _silent(before: Inventory, why: str) -> Inventory:
    silent = [Problem(device.name, "driver", why) for device in before.devices]
    return replace(merged(before, before.devices, silent), silent="" if before.devices else why)

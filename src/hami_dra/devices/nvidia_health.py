"""What NVML says of its cards' health: critical events as they come, and what each card says when asked.

An XID that stops the card stays a problem until the driver (r560 and later) says that the card needs no
recovery, or until the card has been away, as it is while it is reset. A driver that cannot say forgets it
with the plugin: the administrator restarts the plugin's Pod after repairing the card.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pynvml
import structlog

from hami_dra.devices import nvml
from hami_dra.devices.backend import LOST, Problem
from hami_dra.model.device import Device

log = structlog.get_logger(__name__)

# Errors of programs, and what follows from them: the card is fine (NVIDIA's device plugin and DRA driver
# leave out the same ones; "XID Errors", NVIDIA's documentation).
IGNORED_XIDS = frozenset({13, 31, 43, 45, 68, 109})
EVENTS = pynvml.nvmlEventTypeXidCriticalError | pynvml.nvmlEventTypeDoubleBitEccError
RECOVERY = {
    pynvml.NVML_GPU_RECOVERY_ACTION_GPU_RESET: "reset",
    pynvml.NVML_GPU_RECOVERY_ACTION_NODE_REBOOT: "reboot",
    pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_P2P: "drain-p2p",
    pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET: "drain-and-reset",
}
SETTLE_S = 30.0
"""The driver's word that no recovery is needed counts so long after an event, not in the middle of it."""
RENEW_S = 30.0
"""NVML shows cards that were added or came back only when it is started anew."""


@dataclass(frozen=True)
class _Event:
    key: str
    value: str
    message: str
    at: float


class NvidiaHealth:
    """Remembers between polls. Not for several threads. NVML must not be kept started by anybody else."""

    def __init__(
        self, ignored_xids: Iterable[int] = IGNORED_XIDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ignored = frozenset(ignored_xids)
        self._clock = clock
        self._events: dict[str, _Event] = {}  # by uuid
        self._reached: set[str] = set()
        self._set: Any = None
        self._watched: frozenset[str] = frozenset()
        self._renew_at = 0.0

    def problems(self, devices: Sequence[Device]) -> list[Problem]:
        """What is wrong with DEVICES now. Raises NVMLError when NVML itself does not work."""
        uuids = frozenset(device.uuid for device in devices)
        now = self._clock()
        self._drain(now)
        if self._set is None or uuids != self._watched or now >= self._renew_at:
            self._listen(uuids)
            self._renew_at = now + RENEW_S
        self._reached = set()
        found = [problem for device in devices for problem in self._of(device, now)]
        # A card that has been away has been reset: what was wrong with it before does not count any more.
        self._events = {uuid: event for uuid, event in self._events.items() if uuid in self._reached}
        return found

    def close(self) -> None:
        """Stop listening; the next `problems` begins anew. What was heard is kept."""
        if self._set is not None:
            with suppress(pynvml.NVMLError):
                pynvml.nvmlEventSetFree(self._set)
            self._set = None
            with suppress(pynvml.NVMLError):
                pynvml.nvmlShutdown()

    def _of(self, device: Device, now: float) -> list[Problem]:
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(device.uuid)
            nvml.memory(handle)
            card = _card(handle)
            uuid = nvml.text(pynvml.nvmlDeviceGetUUID(card))
        except pynvml.NVMLError as problem:
            return [Problem(device.name, LOST, f"NVML: {problem}")]
        self._reached.add(uuid)
        action = _recovery_action(card)
        event = self._events.get(uuid)
        if event and action == pynvml.NVML_GPU_RECOVERY_ACTION_NONE and now - event.at >= SETTLE_S:
            log.info("the driver says that the card has recovered", device=device.name, after=event.key)
            del self._events[uuid]
            event = None
        found = [Problem(device.name, event.key, event.message, event.value)] if event else []
        if action:
            word = RECOVERY.get(action, str(action))
            found.append(Problem(device.name, "recovery", f"the driver asks for: {word}", word))
        return found

    def _listen(self, uuids: frozenset[str]) -> None:
        """Start NVML anew and register for every card that can be reached and has events."""
        self.close()
        pynvml.nvmlInit()
        try:
            self._set = pynvml.nvmlEventSetCreate()
        except pynvml.NVMLError:
            pynvml.nvmlShutdown()
            raise
        self._watched = uuids
        for uuid in uuids:
            try:
                handle = _card(pynvml.nvmlDeviceGetHandleByUUID(uuid))
                wanted = EVENTS & pynvml.nvmlDeviceGetSupportedEventTypes(handle)
                pynvml.nvmlDeviceRegisterEvents(handle, wanted, self._set)
            except pynvml.NVMLError as problem:  # some cards have no events; polling still sees them lost
                log.debug("no events from this card", uuid=uuid, error=str(problem))

    def _drain(self, now: float) -> None:
        while self._set is not None:
            try:
                self._hear(pynvml.nvmlEventSetWait_v2(self._set, 0), now)
            except pynvml.NVMLError_Timeout:
                return
            except pynvml.NVMLError as problem:  # a lost card ends waiting; each is asked below
                log.warning("events interrupted", error=str(problem))
                self.close()

    def _hear(self, event: Any, now: float) -> None:
        uuid = nvml.text(pynvml.nvmlDeviceGetUUID(event.device))
        code = int(event.eventData)
        if event.eventType == pynvml.nvmlEventTypeDoubleBitEccError:
            self._events[uuid] = _Event("ecc", "", "uncorrectable memory error", now)
        elif event.eventType == pynvml.nvmlEventTypeXidCriticalError and code in self._ignored:
            log.info("XID of a program", uuid=uuid, xid=code)
        elif event.eventType == pynvml.nvmlEventTypeXidCriticalError:
            self._events[uuid] = _Event("xid", str(code), f"XID {code}, see the kernel log", now)


def _card(handle: Any) -> Any:
    """The card of an instance (MIG): events and recovery are the whole card's. A card is its own."""
    if pynvml.nvmlDeviceIsMigDeviceHandle(handle):
        return pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
    return handle


def _recovery_action(handle: Any) -> int | None:
    """What the driver asks for, None when it cannot say."""
    try:
        (field,) = pynvml.nvmlDeviceGetFieldValues(handle, [pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION])
    except pynvml.NVMLError:
        return None
    return int(field.value.uiVal) if field.nvmlReturn == pynvml.NVML_SUCCESS else None

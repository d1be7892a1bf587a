"""What NVML says of the cards and their processes now.

NVML is started for each call and not kept: `nvidia_health` starts it anew to see cards that came back, and
keeps it started in between, so that a start here is a count and no work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pynvml

from hami_dra.devices import nvml
from hami_dra.devices.driver_root import DriverRoot
from hami_dra.model.reading import CardReading, DriverProcess


class NvidiaReadings:
    """Safe for threads. Every call raises DriverError when NVML as a whole does not answer."""

    def __init__(self, root: DriverRoot) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._known: dict[int, CardReading] = {}

    def cards(self) -> list[CardReading]:
        """All cards that were ever seen; one that fell off the bus stays, as not healthy."""
        with self._lock, self._handles() as handles:
            for index in sorted(handles.keys() | self._known.keys()):
                found = _reading(handles.get(index), self._known.get(index))
                if found:
                    self._known[index] = found
            return list(self._known.values())

    def processes(self) -> list[DriverProcess]:
        """The processes that hold memory, as far as our PID namespace shows them."""
        with self._lock, self._handles() as handles:
            return [found for handle in handles.values() if handle for found in _processes(handle)]

    @contextmanager
    def _handles(self) -> Iterator[dict[int, Any]]:
        """By NVML's index; None in place of a handle that NVML does not give."""
        with nvml.started(self._root):
            count = pynvml.nvmlDeviceGetCount()
            yield {index: _maybe(partial(pynvml.nvmlDeviceGetHandleByIndex, index)) for index in range(count)}


def memory_info(handle: Any) -> nvml.Memory:
    """By NVML's second version: the first has the driver's own memory, some 500 MiB, in `used`."""
    return nvml.memory(handle, pynvml.nvmlMemory_v2)


def _reading(handle: Any, before: CardReading | None) -> CardReading | None:
    memory = _maybe(lambda: memory_info(handle)) if handle else None
    if memory is None:
        return CardReading(before.uuid, before.index, before.product, healthy=False) if before else None
    rates = _maybe(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle))
    milliwatts = _maybe(lambda: pynvml.nvmlDeviceGetPowerUsage(handle))
    return CardReading(
        uuid=before.uuid if before else nvml.text(pynvml.nvmlDeviceGetUUID(handle)),
        index=before.index if before else pynvml.nvmlDeviceGetMinorNumber(handle),
        product=before.product if before else nvml.text(pynvml.nvmlDeviceGetName(handle)),
        memory_used=memory.used,
        memory=memory.total,
        utilization=None if rates is None else rates.gpu / 100,
        memory_bus=None if rates is None else rates.memory / 100,
        temperature=_maybe(lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
        power=None if milliwatts is None else milliwatts / 1000,
    )


def _processes(handle: Any) -> Iterator[DriverProcess]:
    uuid = _maybe(lambda: nvml.text(pynvml.nvmlDeviceGetUUID(handle)))
    running = _maybe(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(handle)) if uuid else None
    for process in running or ():
        yield DriverProcess(uuid or "", int(process.pid), int(process.usedGpuMemory or 0))


def _maybe(call: Callable[[], Any]) -> Any:
    """None where this card or driver does not know the question."""
    try:
        return call()
    except pynvml.NVMLError:
        return None

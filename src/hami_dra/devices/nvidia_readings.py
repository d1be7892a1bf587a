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
        self._known: dict[int, CardReading] = {}  # by minor number: NVML's own changes as cards come and go

    def cards(self) -> list[CardReading]:
        """All cards that were ever seen; one that fell off the bus stays, as not healthy."""
        with self._lock, self._handles() as handles:
            there = {found.index: found for handle in handles if (found := _maybe(partial(_reading, handle)))}
            for known in self._known.values():
                self._known[known.index] = CardReading(known.uuid, known.index, known.product, healthy=False)
            self._known |= there
            return list(self._known.values())

    def processes(self) -> list[DriverProcess]:
        """The processes that hold memory, as far as our PID namespace shows them."""
        with self._lock, self._handles() as handles:
            return [found for handle in handles for found in _processes(handle)]

    @contextmanager
    def _handles(self) -> Iterator[list[Any]]:
        """Of the cards that NVML has a handle for."""
        with nvml.started(self._root):
            count = pynvml.nvmlDeviceGetCount()
            found = [_maybe(partial(pynvml.nvmlDeviceGetHandleByIndex, index)) for index in range(count)]
            yield list(filter(None, found))


def memory_info(handle: Any) -> nvml.Memory:
    """By NVML's second version: the first has the driver's own memory, some 500 MiB, in `used`."""
    return nvml.memory(handle, pynvml.nvmlMemory_v2)


def _reading(handle: Any) -> CardReading:
    """Raises NVMLError of a card that does not answer."""
    memory = memory_info(handle)
    rates = _maybe(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle))
    milliwatts = _maybe(lambda: pynvml.nvmlDeviceGetPowerUsage(handle))
    return CardReading(
        uuid=nvml.text(pynvml.nvmlDeviceGetUUID(handle)),
        index=pynvml.nvmlDeviceGetMinorNumber(handle),
        product=nvml.text(pynvml.nvmlDeviceGetName(handle)),
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
    """None where this card or driver does not answer the question."""
    try:
        return call()
    except pynvml.NVMLError:
        return None

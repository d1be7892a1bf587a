"""What a driver says about its cards and processes at one moment. None: it does not say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CardReading:
    """One card. Bytes, 0..1, degrees Celsius, watts. Not healthy: the driver cannot reach it any more."""

    uuid: str
    index: int
    product: str
    healthy: bool = True
    memory_used: int | None = None
    memory: int | None = None
    utilization: float | None = None
    memory_bus: float | None = None
    temperature: float | None = None
    power: float | None = None


@dataclass(frozen=True)
class DriverProcess:
    """A process that holds memory of a card, by its pid in our PID namespace."""

    uuid: str
    pid: int
    memory: int

"""How a Prometheus metric of this process grows while a test does something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import REGISTRY


@contextmanager
def counted(name: str, **labels: str) -> Iterator[Callable[[], float]]:
    """By how much a metric has grown since."""
    before = REGISTRY.get_sample_value(name, labels) or 0.0
    yield lambda: (REGISTRY.get_sample_value(name, labels) or 0.0) - before

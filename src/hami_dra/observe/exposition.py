"""Families of metrics as tables, and the text in which Prometheus reads them. Pure.

A table's families share their rows, so a row's labels are written once and not once a sample: 200 shares take
milliseconds where prometheus_client's own text takes 50. Format: Prometheus text exposition 0.0.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Family(Generic[T]):
    """One metric: its name, its help, and its value in one row. None: no sample in this row."""

    name: str
    help: str
    value: Callable[[T], float | None]
    kind: Literal["gauge", "counter"] = "gauge"


@dataclass(frozen=True)
class Table(Generic[T]):
    """Metrics with the same labels, whose values ROW gives in the same order."""

    subject: str
    labels: tuple[str, ...]
    row: Callable[[T], tuple[str, ...]]
    families: tuple[Family[T], ...]


def render(table: Table[T], rows: Iterable[T]) -> Iterator[str]:
    """Lines of every family. Rows with the same labels are added up: series are unique."""
    groups: dict[tuple[str, ...], list[T]] = {}
    for row in rows:
        groups.setdefault(table.row(row), []).append(row)
    labelled = [(_labels(table.labels, values), group) for values, group in groups.items()]
    for family in table.families:
        yield f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"
        for labels, group in labelled:
            values = [value for row in group if (value := family.value(row)) is not None]
            if values:
                yield f"{family.name}{labels} {sum(values)}\n"


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

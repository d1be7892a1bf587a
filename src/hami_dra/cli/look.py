"""How the commands look: one console, tables without frames, machine forms, and what a pipe gets.

On a terminal lines fit its width and carry colour. In a pipe there is no colour and nothing is cut: each row
stays one line, for grep and awk. COLUMNS in the environment, as `watch` sets it, is such a width as well.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click
import yaml
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from hami_dra.model import quantity

PIPE_WIDTH = 1_000_000
"""Columns: more than any row has. A claim that 256 Pods hold makes one of 20 000."""
LEAST_ROOM = 30
"""Columns in which a paragraph can be read."""
NARROW_INDENT = 4
COLOURS = {"ok": "green", "warning": "yellow", "error": "red", "unknown": "magenta"}
NARROW = 60
"""Columns of a terminal below which there are no bars: they would take the room of names."""
MARKS = {"ok": "✓", "warning": "!", "error": "✗", "unknown": "?"}


def console() -> Console:
    """The console that everything is printed on."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(highlight=False, width=width, emoji=False, markup=False)


def show(renderable: RenderableType) -> None:
    """Print on standard output, without the blanks that fill a table's lines."""
    out = console()
    with out.capture() as captured:
        out.print(renderable, crop=False)
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()), color=True)


def paragraph(lead: Text, text: str, style: str = "") -> Text:
    """TEXT behind LEAD, its further lines below its first; on a narrow terminal all of it below LEAD."""
    width, indent = console().width, lead.cell_len
    beside = width - indent >= LEAST_ROOM
    if text and not beside:
        lead, indent = lead + "\n" + " " * NARROW_INDENT, NARROW_INDENT
    lines = textwrap.wrap(text, max(width - indent, 1), break_long_words=False, break_on_hyphens=False)
    return lead + Text(f"\n{' ' * indent}".join(lines), style=style)


def machine(value: Any, form: str) -> None:
    """Print VALUE as `json` or `yaml`."""
    text = (
        json.dumps(value, indent=2) if form == "json" else yaml.safe_dump(value, sort_keys=False, width=1000)
    )
    click.echo(text.rstrip("\n"))


def table(*columns: str, right: Sequence[str] = ()) -> Table:
    """A table as kubectl prints it: no frame, headings in capitals. RIGHT columns hold numbers.

    On a narrow terminal each `Name` is cut and others take several lines; numbers, and columns without
    a heading (signs and bars), do neither.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        made.add_column(
            name.upper(),
            justify="right" if name in right else "left",
            no_wrap=name in right or not name,
            overflow="ellipsis",
        )
    return made


@dataclass(frozen=True)
class Name:
    """A cell of one line, cut in its middle where it has no room: names often differ at their ends."""

    text: str

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """From one column on."""
        return Measurement(1, max(cell_len(self.text), 1))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Both ends, with a sign between."""
        text, room = self.text, options.max_width
        if cell_len(text) > room:
            behind = (room - 1) // 2
            end = set_cell_size(text[::-1], behind)[::-1] if behind else ""
            text = set_cell_size(text, room - 1 - behind) + "…" + end
        yield Text(text, no_wrap=True)


def mark(severity: str) -> Text:
    """The sign of a finding, in its colour."""
    return Text(MARKS[severity], style=COLOURS[severity])


def size(count: int | None) -> str:
    """Bytes for people, in at most six characters: 512Mi, 22.5Gi."""
    if count is None:
        return "-"
    for suffix, unit in (("Ti", 1024**4), ("Gi", 1024**3), ("Mi", 1024**2), ("Ki", 1024)):
        if count >= unit:
            value = count / unit
            return f"{value:.0f}{suffix}" if value >= 100 or value == int(value) else f"{value:.1f}{suffix}"
    return quantity.format_bytes(count)


def percent(ratio: float | None) -> str:
    """0.456 -> 46%."""
    return "-" if ratio is None else f"{ratio * 100:.0f}%"


def bar(part: float, width: int = 10) -> Text:
    """How full something is; PART is 0..1. Green, yellow from 70 %, red from 90 % on."""
    part = min(max(part, 0.0), 1.0)
    full = round(part * width)
    colour = "red" if part >= 0.9 else "yellow" if part >= 0.7 else "green"
    return Text("█" * full, style=colour) + Text("░" * (width - full), style="dim")

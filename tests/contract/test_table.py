"""The table of docs/conformance.md has every check, as it is."""

from __future__ import annotations

from pathlib import Path

from tests.contract.checks import CHECKS

PAGE = Path(__file__).parents[2] / "docs/conformance.md"


def test_the_published_table_has_every_check_in_its_order() -> None:
    lines = PAGE.read_text().partition("| check | required |")[2].splitlines()[2:]
    table = lines[: lines.index("")]
    rows = [tuple(cell.strip() for cell in line.split("|")[1:3]) for line in table]
    assert rows == [(check.name, "yes" if check.required else "") for check in CHECKS]

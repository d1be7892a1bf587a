"""Cells of tables as they are printed."""

import pytest
from rich.console import Console

from hami_dra.cli import look


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("worker-7d9f", 11, "worker-7d9f"),
        ("worker-7d9f", 7, "wor…d9f"),
        ("worker-7d9f", 2, "w…"),
        ("worker-7d9f", 1, "…"),
        ("算力卡一号甲", 12, "算力卡一号甲"),
        ("算力卡一号甲", 9, "算力…号甲"),
        ("算力卡一号甲", 8, "算力… 甲"),
        ("", 5, ""),
    ],
)
def test_a_name_keeps_both_its_ends(text, columns, shown):
    console = Console(width=columns, emoji=False)
    with console.capture() as captured:
        console.print(look.Name(text))
    assert captured.get() == shown + "\n"

"""The table of the CUDA driver's entry points: none is forgotten, whatever toolkit a program comes from."""

from __future__ import annotations

import importlib.util
import re

import pytest

from tests.unit.native.simulated import ROOT

spec = importlib.util.spec_from_file_location("entry_points", ROOT / "native" / "tools" / "entry_points.py")
assert spec
assert spec.loader
entry_points = importlib.util.module_from_spec(spec)
spec.loader.exec_module(entry_points)

COMMENTS, ROWS = entry_points.read_table()
CLASSES = entry_points.classes_of(COMMENTS)


def test_every_entry_point_of_three_toolkits_is_wrapped_or_passes_for_a_reason() -> None:
    assert entry_points.problems(ROWS, entry_points.wrapped(), CLASSES) == []
    assert {since for since, _ in ROWS.values()} == {"12.9", "13.0", "13.5"}
    assert len(ROWS) > 700


@pytest.mark.parametrize(
    ("rows", "hooks", "told"),
    [
        ({"cuNew": ("14.0", "?")}, set(), "cuNew: class '?' is none of"),
        ({"cuMemAlloc_v2": ("12.9", "host")}, {"cuMemAlloc_v2"}, "has a line in hooks.def"),
        ({"cuMemAlloc_v2": ("12.9", "wrap")}, set(), "has no line in hooks.def"),
        ({}, {"cuOther"}, "cuOther: wrapped in hooks.def, but not in the table"),
    ],
)
def test_the_build_stops_at_an_entry_point_that_nobody_thought_about(rows, hooks, told) -> None:
    (problem,) = entry_points.problems(rows, hooks, CLASSES)
    assert told in problem


def test_what_allocates_or_launches_by_its_name_never_passes() -> None:
    takes = re.compile(
        r"^cu(MemAlloc|MemCreate|MemPoolCreate|Array(3D)?Create|MipmappedArrayCreate|\w*CtxCreate|GraphInstantiate)"
        r"|^cu(Launch(?!HostFunc)|GraphLaunch)"
    )
    host = {"cuMemAllocHost", "cuMemAllocHost_v2"}
    assert [n for n, (_, kind) in ROWS.items() if takes.match(n) and kind != "wrap" and n not in host] == []

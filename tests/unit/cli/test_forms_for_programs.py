"""What commands print for programs is what docs/interfaces.md says."""

import dataclasses
import re
import typing
from pathlib import Path

import pytest

from hami_dra.ops import overview, usage, verify
from hami_dra.ops.checks import Finding

INTERFACES = Path(__file__).parents[3] / "docs/interfaces.md"
VALUES = {"on", "off", "unknown", "ok", "warning", "error", "namespace/pod"}


def names(form):
    """Of every field of a dataclass, and of those that it lists."""
    for field, kind in typing.get_type_hints(form).items():
        yield field
        for listed in typing.get_args(kind):
            if dataclasses.is_dataclass(listed):
                yield from names(listed)


@pytest.mark.parametrize(
    ("command", "form", "more"),
    [
        ("status", overview.Overview, set()),
        ("top", usage.Sample, set()),
        ("doctor", Finding, {"page"}),
        ("verify", verify.Outcome, set()),
    ],
)
def test_every_name_that_is_printed_is_documented_and_no_other(command, form, more):
    (row,) = re.findall(rf"^\| `hami {command}` \| (.*) \|$", INTERFACES.read_text(), re.MULTILINE)
    assert set(re.findall(r"`([^`]+)`", row)) - VALUES == {*names(form), *more}

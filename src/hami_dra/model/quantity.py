"""Kubernetes quantities: `10Gi`, `50`, `1.5e3`, `500m` to numbers, and bytes back to short text.

Grammar: apimachinery/pkg/api/resource/quantity.go. Values are exact (Fraction); `parse_int` rounds up
as `Quantity.Value()` does, which is what the scheduler computes with.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from functools import lru_cache

_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
# No amount has an exponent of three digits, or so many characters: its exact value would take for ever.
LONGEST = 100
_FORM = re.compile(
    r"([+-]?)(\d+\.?\d*|\.\d+)(?:[eE]([+-]?0*\d{1,2})|(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE])?)", re.ASCII
)


@lru_cache(1024)  # the same few amounts, again and again
def parse(text: str | int | float) -> Fraction:
    """Return the exact value of a quantity; ValueError when TEXT is none."""
    match = _FORM.fullmatch(str(text)[: LONGEST + 1])
    if match is None or len(match[0]) > LONGEST:
        shown = text if len(str(text)) <= LONGEST else f"{str(text)[:20]}..."
        raise ValueError(f"{shown!r} is not a quantity such as 10Gi, 500m or 50")
    sign, digits, exponent, suffix = match.groups()
    value = Fraction(digits if not digits.endswith(".") else digits + "0")
    if exponent is not None:
        value *= Fraction(10) ** int(exponent)
    elif suffix in _BINARY:
        value *= 1024 ** _BINARY[suffix]
    else:
        value *= Fraction(1000) ** _DECIMAL[suffix or ""]
    return -value if sign == "-" else value


@lru_cache(1024)
def parse_int(text: str | int | float) -> int:
    """Return the value rounded up to a whole number, as the scheduler does."""
    return math.ceil(parse(text))


def format_bytes(value: int) -> str:
    """Return the shortest exact form with a binary suffix: 24146608128 -> "23028Mi"."""
    for suffix, power in reversed(_BINARY.items()):
        unit = 1024**power
        if value and value % unit == 0:
            return f"{value // unit}{suffix}"
    return str(value)

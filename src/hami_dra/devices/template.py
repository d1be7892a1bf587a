"""Texts of a profile with names in braces: `/dev/davinci{index}`, `{memory.mib}`. Pure.

Braces that hold no name (`\\d{4}` of a pattern) are left as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

_NAME = re.compile(r"\{([a-zA-Z_]\w*(?:\.[a-z]+)?)\}")


def names(text: str) -> Iterator[str]:
    """The names that TEXT needs, `memory.mib` with its view."""
    return (match.group(1) for match in _NAME.finditer(text))


def fill(text: str, values: Mapping[str, str], quote: Callable[[str], str] = str) -> str:
    """TEXT with every name replaced by its value; KeyError for one that VALUES lacks."""
    return _NAME.sub(lambda match: quote(values[match.group(1)]), text)


def fill_or_nothing(text: str, values: Mapping[str, str]) -> str:
    """As `fill`, but empty as soon as one of the names has nothing to say."""
    return fill(text, values) if all(values[name] for name in names(text)) else ""

"""A choice of cards by type or UUID, as a CEL selector of a claim and back.

Admission writes such selectors from a Pod's annotations; whoever explains why a Pod waits reads them again.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from hami_dra.model.published import Card

_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True)
class Choice:
    """Cards whose attribute matches one of VALUES are kept (or excluded): types in part, UUIDs exactly."""

    attribute: str
    values: tuple[str, ...]
    keep: bool

    def expression(self, driver: str) -> str:
        """The CEL selector."""
        attribute = f"{attributes(driver)}.{self.attribute}"
        if self.attribute == "uuid":
            matches = f"{attribute} in [{', '.join(map(_quote, self.values))}]"
        else:
            name = f"{attribute}.lowerAscii()"
            matches = " || ".join(f"{name}.contains({_quote(_lower_ascii(value))})" for value in self.values)
        return matches if self.keep else f"!({matches})"

    def accepts(self, card: Card) -> bool:
        """What the selector says of CARD."""
        text = card.text(self.attribute)
        if self.attribute == "uuid":
            return (text in self.values) is self.keep
        found = any(_lower_ascii(value) in _lower_ascii(text) for value in self.values)
        return found is self.keep


def parse(expression: str) -> Choice | None:
    """The Choice that an expression of ours was made from; None for anybody else's."""
    keep = not expression.startswith("!(")
    try:
        strings = tuple(json.loads(text, strict=False) for text in _LITERAL.findall(expression))
    except ValueError:  # an escape of CEL's that is none of JSON's
        return None
    for attribute in ("uuid", "productName"):
        # The first string is the domain of the attributes.
        if len(strings) < 2:
            continue
        values = strings[1:] if attribute == "uuid" else tuple(text for text in strings if text != strings[0])
        choice = Choice(attribute, values, keep)
        if choice.values and choice.expression(strings[0]) == expression:
            return choice
    return None


def attributes(driver: str) -> str:
    """The CEL expression for the attributes in DRIVER's domain."""
    return f"device.attributes[{_quote(driver)}]"


def _quote(text: str) -> str:
    """A CEL string literal; JSON's short escapes are a subset of CEL's, its surrogate pairs are not."""
    return json.dumps(text, ensure_ascii=False)


def _lower_ascii(text: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)

"""A family's profile from its file: form, then sense. Whatever is wrong is said with file, key and reason.

What cannot be stood by is refused here; nothing is left to fail when a Pod waits.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from hami_dra.devices.profile import Amount, Fact, Profile, Variable
from hami_dra.devices.profile_check import problems
from hami_dra.model.errors import UserError

MANUAL = "See docs/profiles.md"


def load(path: Path) -> Profile:
    """Read one profile; UserError says what is wrong with it, at which key."""
    try:
        data = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(f"cannot be read: {problem}", where=str(path)) from problem
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        at = f"{path}:{mark.line + 1}" if mark else str(path)
        what = getattr(problem, "problem", None) or str(problem)
        raise UserError(f"is not YAML: {what}", where=at, fix="Mend the file") from problem
    return parse(data, str(path), path.stem)


def parse(data: Any, where: str, family: str) -> Profile:
    """Check what a profile says. FAMILY is the file's name, which the profile must repeat."""
    try:
        profile = msgspec.convert(data, Profile)
    except msgspec.ValidationError as problem:
        key, what = _located(data, problem)
        raise UserError(what, where=f"{where}: {key}", fix=MANUAL) from problem
    found = problems(profile)
    if profile.family != family:
        found.insert(0, ("family", f"is {profile.family!r}, and the file is named {family!r}"))
    if found:
        key, what = found[0]
        raise UserError(what, where=f"{where}: {key}", fix=MANUAL)
    return profile


# msgspec does not name the entry of a map that is wrong: these are the maps, and what an entry is.
_MAPS: dict[tuple[str, ...], Any] = {
    ("facts",): Fact,
    ("attributes",): str | bool | dict[Literal["version", "int", "string"], str],
    ("capacities",): Amount,
    ("container", "environment"): str | Variable,
    ("models", "table"): dict[str, str | int | dict[str, str]],
}


def _located(data: Any, problem: msgspec.ValidationError) -> tuple[str, str]:
    """The key as people write it, and what is wrong with it."""
    what, _, path = str(problem).partition(" - at `$")
    key = path.rstrip("`").lstrip(".")
    for steps, kind in _MAPS.items():
        if not key.startswith(".".join(steps) + "[...]"):
            continue
        entries = data
        for step in steps:
            entries = entries[step]
        for name, entry in entries.items():
            try:
                msgspec.convert(entry, kind)
            except msgspec.ValidationError as inner:
                what, _, rest = str(inner).partition(" - at `$")
                key = ".".join((*steps, str(name))) + rest.rstrip("`")
                break
    named = re.search(r"field `(\w+)`", what)
    key = ".".join(part for part in (key, named.group(1) if named else "") if part)
    return key or "profile", what[:1].lower() + what[1:]

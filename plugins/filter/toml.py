"""Change one value of a TOML file that somebody else owns, and tell what that changed in effect.

text   | toml_set(table, key, value)         the text with the value; the rest stays byte for byte
text   | toml_plan(table, key, value, file)  the same as `{"text": ..., "problem": ...}`
before | toml_differences(after)             dotted keys whose values differ, of two `config dump`s
text   | toml_value(key, key, default=...)   one value, or the default
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from typing import Any

Value = str | int | bool | list[str]


def toml_set(text: str, table: str, key: str, value: Value) -> str:
    """Return `text` with `key = value` in `[table]`; both are added when they are missing.

    `table` is written as in a header, for example `plugins."io.containerd.grpc.v1.cri"`. Raises ValueError
    when `text` is not TOML, or when the value stands where no line can be changed (an inline table).
    """
    path = _parts(table)
    before = _parse(text, "the file")
    if _lookup(before, [*path, key]) == value and type(_lookup(before, [*path, key])) is type(value):
        return text
    lines = text.splitlines(keepends=True)
    line = f"{key} = {json.dumps(value)}\n"
    start = _header(lines, path)
    if start is None:
        gap = "" if not text else ("\n" if text.endswith("\n") else "\n\n")
        result = f"{text}{gap}[{table}]\n{line}"
    else:
        result = "".join(_edited(lines, start, key, line))
    expected = _with(before, [*path, key], value)
    if _parse(result, "the edited file", table, key) != expected:
        raise ValueError(
            f"{key} in [{table}] cannot be changed line by line; set it to {json.dumps(value)} by hand"
        )
    return result


def toml_plan(text: str, table: str, key: str, value: Value, file: str) -> dict[str, str]:
    """`toml_set` whose error is one line for a person in `problem`; `text` is then the text as it was."""
    try:
        return {"text": toml_set(text, table, key, value), "problem": ""}
    except ValueError as problem:
        return {"text": text, "problem": f"{file}: {problem}"}


def toml_differences(before: str, after: str) -> list[str]:
    """Dotted keys, such as `plugins.io.containerd.grpc.v1.cri.enable_cdi`, whose values differ.

    containerd 1.7 lists its imports in another order each time that it is asked.
    """
    old, new = (tomllib.loads(text) for text in (before, after))
    for dump in (old, new):
        dump["imports"] = sorted(dump.get("imports", []))
    return sorted(_differences(old, new, ""))


def _differences(before: Any, after: Any, path: str) -> list[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        found = []
        for key in before.keys() | after.keys():
            found += _differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
        return found
    return [] if before == after else [path]


def toml_value(text: str, *path: str, default: Any = None) -> Any:
    """The value at a path of keys; `default` when there is none."""
    found = _lookup(tomllib.loads(text), list(path))
    return default if found is None else found


def _edited(lines: list[str], start: int, key: str, line: str) -> list[str]:
    """Replace the key's line in the table that begins at `start`, or put it below the header."""
    end = next((i for i in range(start + 1, len(lines)) if lines[i].lstrip().startswith("[")), len(lines))
    pattern = re.compile(rf"""(?P<indent>\s*)["']?{re.escape(key)}["']?\s*=[^#\n]*(?P<comment>#.*)?\n?$""")
    for number in range(start + 1, end):
        if found := pattern.match(lines[number]):
            comment = f" {found['comment']}" if found["comment"] else ""
            return [*lines[:number], f"{found['indent']}{line.rstrip()}{comment}\n", *lines[number + 1 :]]
    indent = lines[start][: len(lines[start]) - len(lines[start].lstrip())] + "  "
    header = lines[start] if lines[start].endswith("\n") else lines[start] + "\n"
    return [*lines[:start], header, f"{indent}{line}", *lines[start + 1 :]]


def _header(lines: list[str], path: list[str]) -> int | None:
    """Line number of the header `[path]`, however it is quoted."""
    for number, line in enumerate(lines):
        found = re.match(r"\s*\[([^\[\]]+)\]\s*(#.*)?$", line)
        if found and _parts(found[1]) == path:
            return number
    return None


def _parts(table: str) -> list[str]:
    """The keys of a dotted table name; the empty list when it is not one."""
    try:
        inner: Any = tomllib.loads(f"[{table}]\n")
    except tomllib.TOMLDecodeError:
        return []
    parts = []
    while inner:
        part, inner = next(iter(inner.items()))
        parts.append(part)
    return parts


def _parse(text: str, name: str, table: str = "", key: str = "") -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        remedy = f"set {key} in [{table}] by hand" if key else "correct it"
        raise ValueError(f"{name} is not TOML: {problem}; {remedy}") from problem


def _lookup(document: Any, path: list[str]) -> Any:
    for part in path:
        if not isinstance(document, dict) or part not in document:
            return None
        document = document[part]
    return document


def _with(document: dict[str, Any], path: list[str], value: Value) -> dict[str, Any]:
    """A copy of the document with the value at the path."""
    if len(path) == 1:
        return document | {path[0]: value}
    inner = document.get(path[0], {})
    return document | {path[0]: _with(inner if isinstance(inner, dict) else {}, path[1:], value)}


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters of this file by name."""
        return {
            "toml_set": toml_set,
            "toml_plan": toml_plan,
            "toml_differences": toml_differences,
            "toml_value": toml_value,
        }

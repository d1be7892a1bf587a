"""Manifests as files -> documents, read as Kubernetes reads them."""

from __future__ import annotations

import json
from typing import Any

import yaml

from hami_dra.model import errors


def read(data: bytes, where: str) -> list[Any]:
    """The documents in DATA, whatever they are; WHERE names the file. Raises errors.UserError."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        raise errors.UserError("not a text in UTF-8", where=where) from problem
    try:
        # YAML takes a character beyond the basic plane, as JSON escapes it, for two.
        return [json.loads(text)]
    except RecursionError as problem:
        raise endless(where) from problem
    except ValueError:
        return _yaml(text, where)


def endless(where: str) -> errors.UserError:
    """What to say where Python gives up."""
    return errors.UserError("nested without end", where=where)


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as Kubernetes reads it: what JSON has, and a date is a text."""


_NOT_OF_JSON = tuple(f":{kind}" for kind in ("timestamp", "binary", "omap", "pairs", "set"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in found if not tag.endswith(_NOT_OF_JSON)]
    for first, found in _Loader.yaml_implicit_resolvers.items()
}
_Loader.yaml_constructors = {
    tag: make for tag, make in _Loader.yaml_constructors.items() if not str(tag).endswith(_NOT_OF_JSON)
}


def _yaml(text: str, where: str) -> list[Any]:
    try:
        return list(yaml.load_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError as problem:
        line = f":{problem.problem_mark.line + 1}" if problem.problem_mark else ""
        fix = "Render it first: helm template CHART | hami convert -f -" if "{{" in text else ""
        raise errors.UserError(f"not YAML: {problem.problem}", where=f"{where}{line}", fix=fix) from problem
    except (yaml.YAMLError, ValueError) as problem:  # a number of thousands of digits
        raise errors.UserError(f"not YAML: {' '.join(str(problem).split())}", where=where) from problem
    except RecursionError as problem:
        raise endless(where) from problem

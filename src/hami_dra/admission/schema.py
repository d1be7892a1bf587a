"""Whether a manifest has the shape that the API server would insist on, where no API server is asked. Pure.

Only what is read here is looked at; all else passes as it is.
"""

from __future__ import annotations

from typing import Any

import msgspec

from hami_dra.model.errors import RequestDenied

Object = dict[str, Any]


class _Metadata(msgspec.Struct, rename="camel"):
    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    owner_references: list[Object] | None = None


class _Document(msgspec.Struct):
    kind: str
    metadata: _Metadata | None = None


class _Resources(msgspec.Struct):
    limits: Object | None = None
    requests: Object | None = None
    claims: list[Object] | None = None


class _Container(msgspec.Struct, rename="camel"):
    name: str
    resources: _Resources | None = None
    env: list[Object] | None = None
    restart_policy: str | None = None


class _Claim(msgspec.Struct):
    name: str


class _Spec(msgspec.Struct, rename="camel"):
    containers: list[_Container]
    init_containers: list[_Container] | None = None
    ephemeral_containers: list[_Container] | None = None
    resource_claims: list[_Claim] | None = None
    node_name: str | None = None
    scheduler_name: str | None = None


class _Pod(msgspec.Struct):
    spec: _Spec
    metadata: _Metadata | None = None


def document(item: Any) -> None:
    """Raise RequestDenied when ITEM is no object of Kubernetes'."""
    _look(item, _Document)


def pod(item: Object) -> None:
    """Raise RequestDenied when ITEM is no Pod, as far as admission reads it."""
    _look(item, _Pod)


_MISSING = "Object missing required field "


def _look(item: Any, shape: type[msgspec.Struct]) -> None:
    try:
        msgspec.convert(item, shape)
    except msgspec.ValidationError as problem:
        what, _, where = str(problem).replace(" | null", "").partition(" - at ")
        if what.startswith(_MISSING):
            what = f"{what.removeprefix(_MISSING)} is missing"
        raise RequestDenied(what, where=where.strip("`$.")) from problem

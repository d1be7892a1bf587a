"""What a node's plugin has published, and an API server that does not keep all of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from hami_dra.kube import RESOURCE_SLICES
from tests.support.fake_kube import FakeKube


def slices(kube: FakeKube) -> list[dict[str, Any]]:
    return kube.list(RESOURCE_SLICES)[0]


def devices_of(item: dict[str, Any]) -> list[str]:
    return [device["name"] for device in item["spec"]["devices"]]


def drops(kube: FakeKube, monkeypatch: pytest.MonkeyPatch, strip: Callable[[dict[str, Any]], object]) -> None:
    """From now on the spec of a slice is stored as STRIP leaves it: a feature gate is off."""

    def dropping(call: Any) -> Any:
        def store(kind: Any, body: dict[str, Any], *rest: Any) -> Any:
            body = copy.deepcopy(body)
            strip(body["spec"])
            return call(kind, body, *rest)

        return store

    monkeypatch.setattr(kube, "create", dropping(kube.create))
    monkeypatch.setattr(kube, "replace", dropping(kube.replace))


def drop_sharing(spec: dict[str, Any]) -> None:
    """Without DRAConsumableCapacity."""
    for device in spec.get("devices", []):
        device.pop("allowMultipleAllocations", None)
        for capacity in device["capacity"].values():
            capacity.pop("requestPolicy", None)

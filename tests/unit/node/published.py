"""What a node's plugin has published."""

from __future__ import annotations

from typing import Any

from hami_dra.kube import RESOURCE_SLICES
from tests.support.fake_kube import FakeKube


def slices(kube: FakeKube) -> list[dict[str, Any]]:
    return kube.list(RESOURCE_SLICES)[0]


def devices_of(item: dict[str, Any]) -> list[str]:
    return [device["name"] for device in item["spec"]["devices"]]

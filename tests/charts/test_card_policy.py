"""Which card a share lands on: every plugin is told, and a scheduler that takes any card first is refused."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Objects, Render, pod_spec

PLUGINS = ("hami-dra-driver-kubelet-plugin", "hami-dra-driver-families")
FAMILIES = "hami-dra.drivers.families.enabled={ascend}"


def said(objects: Objects) -> set[str]:
    return {
        entry["value"]
        for name in PLUGINS
        for entry in pod_spec(objects.one("DaemonSet", name))["containers"][0]["env"]
        if entry["name"] == "HAMI_CARD_POLICY"
    }


@pytest.mark.parametrize("policy", ["binpack", "spread"])
def test_the_plugins_of_every_family_are_told(render: Render, policy: str) -> None:
    assert said(render("--set", FAMILIES)) == {"first"}
    assert said(render("--set", FAMILIES, "--set", f"hami-dra.drivers.cardPolicy={policy}")) == {policy}


def test_a_release_whose_scheduler_tries_cards_in_any_order_is_told_why(refusal: Any) -> None:
    text = refusal("--set", "hami-dra.drivers.cardPolicy=spread", "--kube-version", "1.34.4")
    assert "hami-dra.drivers.cardPolicy=spread needs Kubernetes 1.35" in text
    assert "1.34.4" in text


def test_another_word_is_refused(refusal: Any) -> None:
    assert "cardPolicy" in refusal("--set", "hami-dra.drivers.cardPolicy=topology")

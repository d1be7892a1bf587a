"""The plugin starts with whatever checkpoint it finds: running Pods go on, and an Event tells what it was."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from hami_dra.node import checkpoint
from tests.cluster.cluster import Cluster
from tests.e2e import faults
from tests.e2e.claimed import add, identity, phase, restarts
from tests.e2e.kubectl import Kubectl, eventually, on_node
from tests.support.checkpoints import rewritten

CHECKPOINT = "/var/lib/hami/checkpoint.json"
PATIENCE_S = 360.0
"""Where the machine is busy; kubelet itself tries again every few seconds (tests/cluster/kind.yaml)."""


def of_the_version_before(text: str) -> str:
    """Without what was added since: opaque parameters, numbered units."""

    def without(claim: dict[str, Any]) -> None:
        for share in claim["shares"]:
            share.pop("parameters", None)
            share.pop("units", None)

    return rewritten(text, without)


def of_the_version_after(text: str) -> str:
    return json.dumps(json.loads(text) | {"version": checkpoint.VERSION + 1})


def cut_short(text: str) -> str:
    return text[:-9]


def rebuilt(cluster: Cluster, node: str) -> list[str]:
    """Messages of the Events that tell of a checkpoint that was made anew."""
    about = f"involvedObject.kind=Node,involvedObject.name={node},reason=CheckpointRebuilt"
    events = Kubectl(cluster, "default").list("events", f"--field-selector={about}")
    return [event["message"] for event in events]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (of_the_version_before, ""),
        (of_the_version_after, f"version {checkpoint.VERSION + 1} is not known here"),
        (cut_short, "not a checkpoint"),
    ],
    ids=["the version before", "the version after", "damaged"],
)
def test_whatever_the_checkpoint_is_running_pods_go_on_and_the_node_tells(
    cluster: Cluster, namespace: Kubectl, gpu_node: str, change: Callable[[str], str], told: str
) -> None:
    add(namespace, "stays", gpu_node)
    namespace.wait_running("stays")
    uids, shares = identity(namespace, "stays")
    before = rebuilt(cluster, gpu_node)
    text = change(on_node(gpu_node, "cat", CHECKPOINT))
    written = base64.b64encode(text.encode()).decode()
    on_node(gpu_node, "sh", "-c", f"echo {written} | base64 -d > {CHECKPOINT}")
    faults.kill_plugin(gpu_node)
    add(namespace, "comes", gpu_node)
    eventually(lambda: phase(namespace, "comes") == "Running", "the next Pod", PATIENCE_S)

    def new() -> list[str]:
        return [message for message in rebuilt(cluster, gpu_node) if message not in before]

    if told:
        (message,) = eventually(new, "the Event on the Node")
        assert told in message
        assert "claims taken from the API" in message
    assert new() == [] or told
    assert set(namespace("exec", "stays", "--", "ls", "/run/hami/shares").split()) == shares
    assert restarts(namespace, "stays") == 0
    namespace.delete_pod("stays")
    eventually(lambda: not faults.left_on(gpu_node, uids, shares), "nothing left over")
    on_node(gpu_node, "sh", "-c", f"rm -f {CHECKPOINT}.damaged-*")

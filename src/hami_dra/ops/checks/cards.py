"""Checks of what the nodes publish."""

from __future__ import annotations

from hami_dra.kube.protocol import Object
from hami_dra.model import names
from hami_dra.ops.checks.base import (
    SITE,
    Check,
    Verdict,
    bad,
    command,
    doubtful,
    fine,
    logs,
    node_count,
    pods_and_logs,
    some,
)
from hami_dra.ops.facts import PLUGINS, Facts, component

LEAST_DRIVER = 440
WHOLE = "whole"
"""Attribute `enforcement` of devices that are not meant to be shared."""

Pool = tuple[str, str]
"""Driver and name: each family has a pool of its own on a node."""


def _slices(facts: Facts) -> Verdict:
    published = {item["spec"].get("nodeName") for item in facts.our_slices}
    missing = [node for node in facts.served_nodes if node not in published]
    if not missing:
        return fine(f"published for {node_count(len(published))}")
    found, node = f"none for {some(missing)}", missing[0]
    for pod in facts.pods:
        if component(pod) in PLUGINS and pod["spec"].get("nodeName") == node:
            return bad(found, f"kubectl -n {facts.namespace} logs {pod['metadata']['name']}")
    taints = [taint["key"] for taint in _taints(facts, node)]
    if taints:
        return bad(
            f"{found}, where the plugin does not run: it is tainted with {some(taints)}",
            "name the taints in the chart's daemonSet.tolerations (hami-dra.drivers.nvidia, .families)",
        )
    return bad(f"{found}, where the plugin does not run", f"kubectl -n {facts.namespace} describe daemonsets")


def _taints(facts: Facts, name: str) -> list[Object]:
    """Taints of a node that keep Pods away."""
    found = [node.get("spec", {}).get("taints") for node in facts.nodes if node["metadata"]["name"] == name]
    return [taint for taints in found for taint in taints or [] if taint["effect"] != "PreferNoSchedule"]


def _cards(facts: Facts) -> Verdict:
    count: dict[str, int] = {}
    for item in facts.our_slices:
        node = item["spec"].get("nodeName", "")
        count[node] = count.get(node, 0) + len(item["spec"].get("devices") or [])
    empty = sorted(node for node, cards in count.items() if not cards)
    if empty:
        where = "containerDriver=false for one that is on the host, driverRoot for another folder"
        remedy = f"is the driver where the chart looks? {where}"
        return bad(f"none on {some(empty)}", remedy)
    return fine(f"{sum(count.values())} on {node_count(len(count))}")


def _stale_slices(facts: Facts) -> Verdict:
    """Of nodes that are gone or not ours any more, or left from an earlier generation of the pool."""
    newest: dict[Pool, int] = {}
    for item in facts.our_slices:
        newest[_pool(item)] = max(newest.get(_pool(item), 0), item["spec"]["pool"].get("generation", 0))
    stale = []
    for item in facts.our_slices:
        spec, name = item["spec"], item["metadata"]["name"]
        if spec.get("nodeName") not in facts.served_nodes:
            stale.append(f"{name} (of {spec.get('nodeName')}, which is not labelled)")
        elif spec["pool"].get("generation", 0) < newest[_pool(item)]:
            stale.append(f"{name} (generation {spec['pool'].get('generation', 0)})")
    if not stale:
        return fine("none")
    return doubtful(some(stale), f"kubectl delete resourceslice {stale[0].split(' ')[0]}")


def _incomplete_pools(facts: Facts) -> Verdict:
    """The scheduler passes over a pool of which a slice is missing."""
    have: dict[tuple[Pool, int], list[int]] = {}
    for item in facts.our_slices:
        pool = item["spec"]["pool"]
        have.setdefault((_pool(item), pool.get("generation", 0)), []).append(
            pool.get("resourceSliceCount", 1)
        )
    newest = {of: max(each for other, each in have if other == of) for of, _ in have}
    short = [
        f"{of[1]} ({len(have[of, generation])} of {max(have[of, generation])} slices)"
        for of, generation in sorted(newest.items())
        if len(have[of, generation]) < max(have[of, generation])
    ]
    if not short:
        return fine(f"{len(newest)} pools complete")
    look = logs("driver", facts.namespace)
    return bad(some(short), f"delete the node's plugin Pod, so that it publishes anew; {look}")


def _shared_devices(facts: Facts) -> Verdict:
    """The API server drops the fields of consumable capacity silently when the gate is off."""
    bare = sorted(
        {
            item["metadata"]["name"]
            for item in facts.our_slices
            for device in item["spec"].get("devices") or []
            if _attribute(device, "enforcement") != WHOLE
            and not device.get("consumesCounters")  # what a card may be cut into is had as a whole
            and not device.get("allowMultipleAllocations")
        }
    )
    if not bare:
        return fine("every card may be shared")
    return bad(
        f"not in {some(bare)}", "switch DRAConsumableCapacity on in the API server and restart the plugin"
    )


def _sick_devices(facts: Facts) -> Verdict:
    sick = [
        f"{device['name']} of {node} ({device['taints'][0].get('value') or device['taints'][0]['key']})"
        for node, device in facts.cards
        if device.get("taints")
    ]
    if not sick:
        return fine("no card is tainted")
    return doubtful(
        some(sick),
        "the vendor's program (nvidia-smi, npu-smi) and dmesg on the node; the taint goes when the card is"
        " well again",
    )


def _driver_version(facts: Facts) -> Verdict:
    old = {}
    for node, device in facts.cards:
        version = _attribute(device, "driverVersion")
        major = version.partition(".")[0]
        if _attribute(device, "type") == names.DEVICE_TYPE and major.isdigit() and int(major) < LEAST_DRIVER:
            old[node] = version
    if not old:
        return fine("new enough on every node")
    return bad(
        some([f"{version} on {node}" for node, version in sorted(old.items())]),
        "upgrade the NVIDIA driver there",
    )


def _pool(item: Object) -> Pool:
    return item["spec"]["driver"], item["spec"]["pool"]["name"]


def _attribute(device: Object, name: str) -> str:
    """The text of an attribute, of whatever type."""
    value = (device.get("attributes") or {}).get(name) or {}
    return str(next(iter(value.values()), ""))


CHECKS = (
    Check(
        id="slices",
        title="A node publishes no ResourceSlice",
        expected="one for each GPU node",
        why="The scheduler knows of a node's cards by its ResourceSlices alone; Pods wait although the "
        "card is there.",
        mend=(
            "See that node's plugin:",
            pods_and_logs("driver"),
        ),
        needs=("nodes", "slices"),
        look=_slices,
    ),
    Check(
        id="cards",
        title="A node publishes no card",
        expected="at least one card on each GPU node",
        why="The plugin runs, but finds no card: the driver is not loaded, or not where the chart says.",
        mend=(
            "On the node:",
            command("nvidia-smi -L\nls /run/nvidia/driver"),
            "A driver that is installed on the host, and not by GPU Operator, needs "
            "`hami-dra.drivers.nvidia.containerDriver=false`, and one in another folder "
            "`hami-dra.drivers.nvidia.driverRoot` (GKE: /home/kubernetes/bin/nvidia).",
        ),
        needs=("slices",),
        look=_cards,
    ),
    Check(
        id="stale-slices",
        title="A ResourceSlice is left over",
        expected="slices of labelled nodes and of the newest generation only",
        why="It tells of cards that nobody serves; a Pod that is placed there stays in ContainerCreating.",
        mend=(command("kubectl get resourceslices\nkubectl delete resourceslice NAME"),),
        needs=("nodes", "slices"),
        look=_stale_slices,
    ),
    Check(
        id="incomplete-pools",
        title="A slice of a pool is missing",
        expected="all slices of each pool",
        why="A node with many cards needs several ResourceSlices. The scheduler uses none of them before "
        "all are there.",
        mend=("Let the plugin publish anew:", command("kubectl -n hami-system delete pod POD")),
        needs=("slices",),
        look=_incomplete_pools,
    ),
    Check(
        id="shared-devices",
        title="Cards cannot be shared: fields of the ResourceSlice were dropped",
        expected="cards that may be shared",
        why="The plugin published `allowMultipleAllocations` and the API server dropped it, because its "
        "feature gate DRAConsumableCapacity is off. The first Pod takes the whole card.",
        mend=(
            command(f"{SITE} --tags control_plane,kubelet"),
            "The plugin notices within a minute and publishes again.",
        ),
        needs=("slices",),
        look=_shared_devices,
    ),
    Check(
        id="sick-devices",
        title="A card is tainted as sick",
        expected="no taint on any card",
        why="The plugin saw errors of the card (XID, lost from the bus, a check of its family's profile that "
        "fails) and lets no new share land on it. What was seen is in the plugin's log: `device problem`.",
        mend=(
            "On the node, for NVIDIA's cards; other makers' have a program of their own (`npu-smi`, ...):",
            command("nvidia-smi -q -d ECC,PAGE_RETIREMENT\ndmesg | grep -i xid"),
            "The taint is taken off when the card is well again; some errors need a reset or a reboot.",
        ),
        needs=("slices",),
        look=_sick_devices,
    ),
    Check(
        id="driver-version",
        title="The NVIDIA driver is too old",
        expected="440 or newer",
        why="The limiter hooks entry points that older drivers do not have.",
        mend=(
            "Upgrade the driver of the node: with GPU Operator by `driver.version`, else by your "
            "distribution.",
        ),
        needs=("slices",),
        look=_driver_version,
    ),
)

"""Dynamic MIG on a real API server: slices as the plugin publishes them, as the scheduler sees them, and the
way of an instance from a plugin over the scheduler to kubelet's DRA manager and back (NVML is simulated).
"""

import json

import pytest

from hami_dra.devices.nvidia import capacities
from hami_dra.kube import kinds
from hami_dra.model import names
from hami_dra.model.device import Device, Parts
from hami_dra.node import slices
from tests.control_plane import live_node
from tests.control_plane.cards import GIB, publish
from tests.control_plane.conftest import pod, results
from tests.support import mig_host
from tests.support.control_plane import SINCE_1_35
from tests.support.waiting import until

NODE = "cut"
CLASS = "hami-core-mig.project-hami.io"
OFFERED = pytest.mark.parametrize("plane", SINCE_1_35, indirect=True)
A30 = {"1g.6gb": (1, (0, 1, 2, 3)), "2g.12gb": (2, (0, 2)), "4g.24gb": (4, (0,))}


def partitions():
    """What an A30 can be cut into, as `devices.nvidia_partitions` describes it."""
    return [
        Device(
            f"hami-mig-0-{profile.replace('.', '-')}-{start}",
            f"GPU-cut-{profile}-{start}",
            {"type": names.MIG_TYPE, "uuid": f"GPU-cut-{profile}-{start}", "profile": profile},
            capacities(6 * size * GIB),
            shared=False,
            parts=Parts("hami-gpu-0", tuple(range(start, start + size)), 4),
        )
        for profile, (size, starts) in A30.items()
        for start in starts
    ]


@pytest.fixture
def planned(plane):
    """The slices that the plugin would publish for this server; they go with the test."""
    minor = int(plane.release.minor.partition(".")[2])
    return slices.pool(NODE, names.DRIVER, partitions(), {}, node_uid=None, generation=1, kubernetes=minor)


@pytest.fixture
def stored(space, planned):
    client = space.client
    publish(client, NODE, [])
    made = [client.create(kinds.RESOURCE_SLICES, item) for item in planned]
    yield made
    for item in made:
        client.delete(kinds.RESOURCE_SLICES, item["metadata"]["name"])
    client.delete(kinds.NODES, NODE)


def wants(space, name, profile):
    """A Pod with a claim for an instance of PROFILE."""
    expression = f'device.attributes["{names.DRIVER}"].profile == "{profile}"'
    request = {"deviceClassName": CLASS, "selectors": [{"cel": {"expression": expression}}]}
    spec = {"devices": {"requests": [{"name": "mig", "exactly": request}]}}
    space.create(kinds.RESOURCE_CLAIMS, {"metadata": {"name": name}, "spec": spec})
    body = pod(name=name, resourceClaims=[{"name": "mig", "resourceClaimName": name}])
    body["spec"]["containers"][0]["resources"] = {"claims": [{"name": "mig"}]}
    space.create(kinds.PODS, body)


def given(space):
    """Device by claim."""
    return {
        claim["metadata"]["name"]: results(claim)[0]["device"]
        for claim in space.claims()
        if (claim.get("status") or {}).get("allocation")
    }


@OFFERED
def test_no_slice_of_a_card_is_given_away_twice(space, stored):
    wants(space, "first", "2g.12gb")
    wants(space, "second", "2g.12gb")
    until(lambda: len(given(space)) == 2, "two halves")
    assert set(given(space).values()) == {"hami-mig-0-2g-12gb-0", "hami-mig-0-2g-12gb-2"}
    wants(space, "whole", "4g.24gb")
    wants(space, "small", "1g.6gb")
    until(lambda: "cannot allocate all claims" in space.events("whole"), "the scheduler's refusal")
    assert len(given(space)) == 2
    space.delete_pod("first")
    space.client.delete(kinds.RESOURCE_CLAIMS, "first", space.name)
    until(lambda: "small" in given(space), "the small one in place of the first half")
    assert given(space)["small"] in ("hami-mig-0-1g-6gb-0", "hami-mig-0-1g-6gb-1")
    assert "whole" not in given(space)


def test_the_server_keeps_every_field_that_we_publish(stored, planned, plane):
    if plane.release.minor not in SINCE_1_35:
        assert [item["spec"]["devices"] for item in planned] == [[]], "what needs counters is left out"
        return
    for sent, kept in zip(planned, stored, strict=True):
        assert slices.dropped_fields(sent["spec"], kept["spec"]) == []


@pytest.fixture
def live(space):
    with live_node.running(space, NODE, mig_host.make, "--dynamic-mig") as found:
        yield found


def cut(live):
    """First slice of each instance that the plugin has made."""
    made = json.loads((live.folder / "state/mig-instances.json").read_text())
    return sorted(start for _, _, start in made)


@live_node.OF_OUR_KUBELET
def test_an_instance_goes_from_the_plugins_slice_over_the_scheduler_to_kubelet_and_back(space, live):
    for name in ("first", "second"):
        wants(space, name, "2g.12gb")
    until(lambda: len(given(space)) == 2, "two halves")
    for name in ("first", "second"):
        (cdi,) = live.prepare(name)
        nodes = live.device_nodes(name)
        assert given(space)[name] in cdi
        assert nodes[0] == "/dev/nvidia1"
        assert len([node for node in nodes if node.startswith("/dev/nvidia-caps/")]) == 2
    assert cut(live) == [0, 2]
    wants(space, "whole", "4g.24gb")
    until(lambda: "cannot allocate all claims" in space.events("whole"), "its refusal")
    for name in ("first", "second"):
        live.end(name)
    assert cut(live) == []
    until(lambda: "whole" in given(space), "the whole card, once nobody has a half")
    live.prepare("whole")
    assert cut(live) == [0]
    live.end("whole")
    assert cut(live) == []
    assert list((live.folder / "cdi").iterdir()) == []

"""`binpack` and `spread`: the scheduler follows the order of our slice, which follows what was prepared."""

import pytest

from hami_dra.kube import kinds
from hami_dra.model import names
from tests.control_plane import cards, live_node
from tests.control_plane.cards import GIB
from tests.control_plane.conftest import pod, results
from tests.support import sim_host
from tests.support.control_plane import SINCE_1_35
from tests.support.waiting import until

NODE = "ordered"
CARDS = [
    sim_host.A10
    | {
        "minor": minor,
        "uuid": f"GPU-00000000-0000-0000-0000-00000000000{minor}",
        "pciBusId": f"0000:6{minor}:01.0",
    }
    for minor in range(3)
]


def create(space, name, memory, cards=CARDS):
    """A Pod with a share of MEMORY MiB of one of CARDS."""
    only = {"nvidia.com/use-gpuuuid": ",".join(gpu["uuid"] for gpu in cards)}
    space.create(kinds.PODS, pod({"gpumem": memory}, name, annotations=only))


def lands(space, name):
    """Number of the card that Pod NAME gets."""
    wanted = f"{name}-cuda"

    def found():
        claims = [item for item in space.claims() if item["metadata"]["name"].endswith(wanted)]
        return [claim for claim in claims if (claim.get("status") or {}).get("allocation")]

    (claim,) = until(found, f"a card for {name}")
    return int(results(claim)[0]["device"].removeprefix("hami-gpu-"))


@pytest.mark.parametrize("plane", SINCE_1_35, indirect=True)
def test_the_scheduler_takes_the_first_card_of_a_slice_that_fits(space):
    cards.publish(space.client, NODE, [])
    devices = [cards.device(NODE, number, "NVIDIA A10", 24 * GIB, "pci0000:10") for number in (2, 0, 1)]
    for device in devices:
        device["attributes"]["uuid"] = {"string": CARDS[int(device["name"][-1])]["uuid"]}
    made = {"name": NODE, "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": names.DRIVER, "nodeName": NODE, "pool": made, "devices": devices}
    space.client.create(kinds.RESOURCE_SLICES, {"metadata": {"name": NODE}, "spec": spec})
    try:
        where = []
        for at in range(4):
            create(space, f"pod-{at}", 12 * 1024)
            where.append(lands(space, f"pod-{at}"))
        assert where == [2, 2, 0, 0]
    finally:
        space.client.delete(kinds.RESOURCE_SLICES, NODE)
        space.client.delete(kinds.NODES, NODE)


@live_node.OF_OUR_KUBELET
@pytest.mark.parametrize(("policy", "expected"), [("spread", [1, 0, 2, 0]), ("binpack", [1, 1, 1, 1])])
def test_shares_land_on_the_emptiest_or_the_fullest_card(space, policy, expected):
    def first_card():
        found = space.client.list(kinds.RESOURCE_SLICES, fields=f"spec.nodeName={NODE}")[0]
        return next((int(item["spec"]["devices"][0]["name"][-1]) for item in found), None)

    def host(folder):
        return sim_host.make(folder, CARDS)

    with live_node.running(space, NODE, host, "--card-policy", policy) as live:
        create(space, "pod-0", 4096, CARDS[1:2])  # so that the first by number is neither
        for at, (memory, where) in enumerate(zip([1024, 2048, 512, 512], expected, strict=True)):
            assert lands(space, f"pod-{at}") == where
            live.prepare(f"pod-{at}")
            following = [*expected, where][at + 1]
            until(lambda to=following: first_card() == to, f"card {following} to be first")
            create(space, f"pod-{at + 1}", memory)

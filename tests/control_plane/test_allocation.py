"""What the scheduler makes of our claims: the right number of cards, the right ones, the right amounts."""

import pytest

from hami_dra.kube import kinds
from hami_dra.kube.kinds import Kind
from tests.control_plane.cards import GIB
from tests.control_plane.conftest import pod, results
from tests.support.waiting import until

PRIORITIES = Kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False)
DEVICE = ("pool", "device")


def cards(claim):
    return [tuple(result[key] for key in DEVICE) for result in results(claim)]


def test_a_share_is_allocated_with_what_was_asked_for(space):
    space.create(kinds.PODS, pod({"gpu": 1, "gpumem": 10240, "gpucores": 50}))
    (claim,) = space.allocated()
    (result,) = results(claim)
    assert claim["metadata"]["name"] == f"{space.name}-train-cuda"
    assert result["consumedCapacity"] == {"cores": "50", "memory": "10Gi"}
    assert result["shareID"]


@pytest.fixture
def tainted(cluster):
    """Every node has the taint of providers' GPU nodes."""

    def change(taints):
        for node in cluster.client.list(kinds.NODES)[0]:
            cluster.client.patch(kinds.NODES, node["metadata"]["name"], {"spec": {"taints": taints}})

    change([{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}])
    yield
    change(None)


def test_a_converted_pod_goes_to_tainted_nodes_where_asking_for_the_resource_means_tolerating_them(
    tainted, space
):
    """Admission plugin ExtendedResourceToleration, which comes before us: GKE and others have it."""
    space.create(kinds.PODS, pod({"gpu": 1, "gpumem": 1024}))
    space.allocated()


@pytest.mark.parametrize("count", [2, 3])
def test_several_cards_are_distinct_cards_of_one_node(space, count):
    space.create(kinds.PODS, pod({"gpu": count, "gpumem": 1024}))
    (claim,) = space.allocated()
    found = cards(claim)
    assert len(set(found)) == count
    assert len({pool for pool, _ in found}) == 1


def test_a_percentage_is_of_the_card_that_was_allocated(space):
    space.create(kinds.PODS, pod({"gpumem-percentage": 50}, name="any"))
    (claim,) = space.allocated()
    (result,) = results(claim)
    size = {"small": 24, "large": 80}[result["pool"]]
    assert result["consumedCapacity"]["memory"] == f"{size // 2}Gi"
    chosen = pod({"gpumem-percentage": 25}, name="big", annotations={"nvidia.com/use-gputype": "a100"})
    space.create(kinds.PODS, chosen)
    big = next(item for item in space.allocated(2) if "big" in item["metadata"]["name"])
    assert results(big)[0]["consumedCapacity"]["memory"] == "20Gi"


@pytest.mark.parametrize(
    ("annotations", "node"),
    [
        ({"nvidia.com/use-gputype": "a100"}, "large"),
        ({"nvidia.com/use-gputype": "H100, nvidia a10", "nvidia.com/nouse-gputype": "A100"}, "small"),
        ({"nvidia.com/nouse-gputype": "sxm4"}, "small"),
        ({"nvidia.com/use-gpuuuid": "GPU-large-2"}, "large"),
        ({"nvidia.com/nouse-gpuuuid": "GPU-small-0,GPU-small-1"}, "large"),
    ],
)
def test_annotations_choose_the_card(space, annotations, node):
    space.create(kinds.PODS, pod({"gpumem": 1024}, annotations=annotations))
    (claim,) = space.allocated()
    assert cards(claim)[0][0] == node


def near_each_other(space, count):
    """The COUNT cards of a Pod, and which alternative each of them is: `near` the others, or `any`."""
    wish = {"hami.io/gpu-scheduler-policy": "topology-aware", "nvidia.com/use-gputype": "a100"}
    space.create(kinds.PODS, pod({"gpu": count, "gpumem": 1024}, annotations=wish))
    (claim,) = space.allocated()
    return [device for _, device in cards(claim)], [
        result["request"].partition("/")[2] for result in results(claim)
    ]


def began_alone(space, found):
    """Before 1.36, slices come in any order, and the first to fit is taken: at times a card alone."""
    return space.plane.release.minor < "1.36" and found[0] == "hami-gpu-1"


def test_cards_near_each_other_are_preferred(space):
    found, how = near_each_other(space, 2)
    if began_alone(space, found):
        assert how == ["near", "any"]
    else:
        assert set(found) == {"hami-gpu-0", "hami-gpu-2"}
        assert how == ["near", "near"]


def test_cards_far_from_each_other_do_when_there_are_no_others(space):
    found, how = near_each_other(space, 3)
    assert set(found) == {"hami-gpu-0", "hami-gpu-1", "hami-gpu-2"}
    assert how == (["near", "any", "any"] if began_alone(space, found) else ["near", "near", "any"])


def test_numa_binding_keeps_the_cards_of_a_container_on_one_node(space):
    bound = {"nvidia.com/numa-bind": "true", "nvidia.com/use-gputype": "a100"}
    space.create(kinds.PODS, pod({"gpu": 2, "gpumem": 1024}, annotations=bound))
    (claim,) = space.allocated()
    assert {device for _, device in cards(claim)} == {"hami-gpu-0", "hami-gpu-1"}


def test_init_and_main_container_hold_one_share_in_turn(space):
    source = pod({"gpumem": 2048})
    before = {"name": "fetch", "image": "x", "resources": {"limits": {"nvidia.com/gpumem": "1024"}}}
    source["spec"]["initContainers"] = [before]
    stored = space.create(kinds.PODS, source)
    (claim,) = space.allocated()
    assert len(results(claim)) == 1
    containers = stored["spec"]["initContainers"] + stored["spec"]["containers"]
    assert [one["resources"]["claims"] for one in containers] == [[{"name": "cuda"}], [{"name": "cuda"}]]


def test_priority_arrives_in_the_allocation(space):
    space.create(kinds.PODS, pod({"gpumem": 1024, "priority": 0}))
    (claim,) = space.allocated()
    (config,) = claim["status"]["allocation"]["devices"]["config"]
    assert config["source"] == "FromClaim"
    assert config["opaque"]["parameters"]["priority"] == "high"


def test_a_whole_card_leaves_no_memory_to_others(space):
    space.create(kinds.PODS, pod({"gpu": 1}, annotations={"nvidia.com/use-gpuuuid": "GPU-small-0"}))
    (claim,) = space.allocated()
    assert results(claim)[0]["consumedCapacity"] == {"cores": "100", "memory": f"{24 * GIB // 1024**3}Gi"}


def test_a_card_beside_a_full_one_still_has_room(space):
    first = {"nvidia.com/use-gpuuuid": "GPU-small-0"}
    space.create(kinds.PODS, pod({"gpu": 1}, name="whole", annotations=first))
    space.allocated(1)
    space.create(kinds.PODS, pod({"gpumem": 1024}, annotations={"nvidia.com/use-gpuuuid": "GPU-small-1"}))
    claims = space.allocated(2)
    assert {cards(claim)[0] for claim in claims} == {("small", "hami-gpu-0"), ("small", "hami-gpu-1")}


def test_a_pod_of_high_priority_waits_for_a_share_and_evicts_nobody(space):
    """As docs/quota.md has it; a release that preempts for devices (KEP-5690) turns this red."""
    chosen = {"nvidia.com/use-gpuuuid": "GPU-small-0"}
    space.client.create(PRIORITIES, {"metadata": {"name": space.name}, "value": 1000})
    try:
        space.create(kinds.PODS, pod({"gpu": 1}, name="low", annotations=chosen))
        space.allocated(1)
        space.create(kinds.PODS, pod({"gpu": 1}, annotations=chosen, priorityClassName=space.name))
        words = "Preemption is not helpful for scheduling"
        until(lambda: words in space.events("train"), "the scheduler's words")
        assert "deletionTimestamp" not in space.client.get(kinds.PODS, "low", space.name)["metadata"]
        space.delete_pod("low")
        until(lambda: space.client.get(kinds.PODS, "train", space.name)["spec"].get("nodeName"), "its turn")
    finally:
        space.client.delete(PRIORITIES, space.name)

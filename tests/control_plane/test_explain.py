"""`hami explain` beside a real API server, scheduler and controllers: a sentence, and what to do next."""

import pytest

from hami_dra.kube import kinds
from tests.control_plane.conftest import hami, pod
from tests.control_plane.test_ownership import QUOTAS
from tests.control_plane.test_validation import claim
from tests.support.waiting import until

MEANT = "nvidia.com/use-gputype"


def explained(space, words, name="train", namespace=None):
    """Once `hami explain` says so: (the sentence, the next command, exit code)."""

    def said():
        done = hami(space.cluster.plane, "explain", name, "-n", namespace or space.name)
        assert done.stderr == ""
        sentence, *following = done.stdout.splitlines()
        return (sentence, " ".join(following), done.returncode) if words in sentence else None

    return until(said, words)


@pytest.mark.parametrize(
    ("limits", "annotations", "words", "command"),
    [
        ({"gpumem": 100000}, {}, "asks for memory 100000Mi and the largest card has 80Gi", "resourceslices"),
        (
            {"gpumem": 1},
            {MEANT: "H100"},
            "no card is of type h100; there are NVIDIA A10,",
            "slices",
        ),
        ({"gpumem": 1}, {"nvidia.com/use-gpuuuid": "GPU-x"}, "no card is of UUID GPU-x", "resourceslices"),
        ({"gpu": 4, "gpumem": 1}, {}, "asks for 4 cards, and no node has more than 3", "resourceslices"),
    ],
    ids=["capacity", "type", "uuid", "count"],
)
def test_a_pod_that_no_card_can_serve(space, limits, annotations, words, command):
    space.create(kinds.PODS, pod(limits, annotations=annotations))
    _, following, code = explained(space, words)
    assert command in following
    assert code == 1


def test_a_pod_that_waits_for_room_is_told_what_is_left(space):
    chosen = {"nvidia.com/use-gpuuuid": "GPU-small-0"}
    space.create(kinds.PODS, pod({"gpumem": 20 * 1024, "gpucores": 10}, name="first", annotations=chosen))
    space.allocated(1)
    space.create(kinds.PODS, pod({"gpumem": 8 * 1024}, annotations=chosen))
    sentence, following, _ = explained(space, "waits for room")
    assert "asks for memory 8Gi, and the emptiest card has memory 4Gi free" in sentence
    assert "kubectl get resourceclaims" in following


def test_a_pod_beyond_the_quota(space):
    hard = {"hami-core-gpu.project-hami.io.deviceclass.resource.k8s.io/devices": "0"}
    space.create(QUOTAS, {"metadata": {"name": "gpus"}, "spec": {"hard": hard}})
    until(lambda: space.list(QUOTAS)[0].get("status", {}).get("hard"), "the quota to be counted")
    space.create(kinds.PODS, pod({"gpumem": 1}))
    sentence, following, _ = explained(space, "beyond the namespace's quota")
    assert "exceeded quota: gpus" in sentence
    assert "describe resourcequota" in following


def test_a_class_that_is_not_there(space):
    space.create(kinds.RESOURCE_CLAIMS, claim(device_class="gpu.example.com"))
    waiting = pod(resourceClaims=[{"name": "gpu", "resourceClaimName": "half"}])
    waiting["spec"]["containers"][0]["resources"] = {"claims": [{"name": "gpu"}]}
    space.create(kinds.PODS, waiting)
    _, following, _ = explained(space, "DeviceClass gpu.example.com does not exist")
    assert "kubectl get deviceclass" in following


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]},
            "held back by kueue.x-k8s.io/admission",
        ),
        ({"schedulerName": "volcano"}, "waits for volcano, which has not said yet"),
    ],
    ids=["gate", "scheduler"],
)
def test_a_pod_that_no_scheduler_looks_at(space, spec, words):
    space.create(kinds.PODS, pod({"gpumem": 1}, **spec))
    explained(space, words)


@pytest.mark.parametrize("group", ["containers", "initContainers"])
def test_a_pod_that_no_webhook_saw(space, group):
    """In a namespace that admission leaves alone; of another family that is switched on."""
    stranded = pod(name=f"stranded-{space.name}")
    asking = {"name": "fetch", "image": "x", "resources": {"limits": {"huawei.com/Ascend910B3": "1"}}}
    stranded["spec"][group] = [*stranded["spec"].get(group, []), asking]
    space.client.create(kinds.PODS, stranded, "kube-system")
    name = stranded["metadata"]["name"]
    try:
        _, following, _ = explained(space, "huawei.com/Ascend910B3 was not made a claim", name, "kube-system")
    finally:
        space.plane.ask("DELETE", kinds.PODS.path("kube-system", name), {"gracePeriodSeconds": 0})
    assert "hami doctor" in following

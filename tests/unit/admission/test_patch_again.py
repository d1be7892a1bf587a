"""A Pod that was converted before: reviewed once more, or copied."""

import json

import pytest

from hami_dra.admission.patch import convert
from hami_dra.admission.settings import Settings
from hami_dra.model import names
from tests.unit.admission.pods import GIB, NOWHERE, converted, gpu, pod


def beside_others(limits, **more):
    """A Pod whose init container borrows the share of `cuda`, with a claim of its user's own."""
    found = pod(limits, initContainers=[pod(gpu(gpumem=64))["spec"]["containers"][0] | {"name": "fetch"}])
    found["spec"]["resourceClaims"] = [{"name": "mine", "resourceClaimName": "mine"}]
    found["spec"]["containers"][0]["resources"]["claims"] = [{"name": "mine"}]
    return found | more


def reviewed(found, *manifest, annotations=()):
    """FOUND as an API server sends it, which was made from a MANIFEST with these resources of `cuda`."""
    resources = {"f:limits": {f"f:{name}": {} for limits in manifest for name in limits}}
    fields = {
        "f:metadata": {"f:annotations": {f"f:{name}": {} for name in annotations}},
        "f:spec": {"f:containers": {'k:{"name":"cuda"}': {".": {}, "f:resources": resources}}},
    }
    found["metadata"] |= {"managedFields": [{"manager": "kubectl", "fieldsV1": fields}]}
    return found


@pytest.mark.parametrize(
    ("filled_in", "in_all"),
    [
        ({"gpumem": 512}, {"gpu": 1, "gpumem": 1024}),
        ({"gpucores": 5}, {"gpu": 1, "gpumem": 1024, "gpucores": 5}),
    ],
    ids=["asked for already", "more"],
)
@pytest.mark.parametrize("group", ["limits", "requests"])
def test_what_is_filled_in_after_a_conversion_brings_no_second_share(filled_in, in_all, group):
    """By a LimitRange, or a webhook that comes after ours: the API server asks again."""
    once = reviewed(converted(beside_others(gpu(gpu=1, gpumem=1024))).pod)
    once["spec"]["containers"][0]["resources"][group] = gpu(**filled_in)
    assert converted(once).pod == reviewed(converted(beside_others(gpu(**in_all))).pod)


def test_containers_without_a_share_stay_as_they_are_when_a_pod_is_converted_afresh():
    once = converted(pod(gpu(gpu=1, gpumem=1024))).pod
    beside = {"name": "beside", "resources": {"limits": {"cpu": "1"}}}
    once["spec"]["containers"] += [beside, {"name": "more", "resources": {"limits": gpu(gpumem=512)}}]
    assert converted(once).pod["spec"]["containers"][1] is beside


def test_a_review_after_another_webhook_added_a_container_keeps_the_first_claims():
    once = converted(pod(gpu(gpumem=1024))).pod
    injected = {"name": "agent", "resources": {"limits": gpu(gpumem=512)}}
    once["spec"]["containers"].append(injected)
    twice = converted(once).pod
    annotations = twice["metadata"]["annotations"]
    assert set(json.loads(annotations[names.CLAIMS_ANNOTATION])["claims"]) == {
        "ml-train-cuda",
        "ml-train-agent",
    }
    assert annotations[names.ASKED_MEMORY] == "1536"
    assert [entry["name"] for entry in twice["spec"]["resourceClaims"]] == ["cuda", "agent"]


def test_a_manifest_copied_from_a_converted_pod_does_not_bring_that_ones_claims():
    copied = converted(pod(gpu(gpumem=1024), name="first")).pod
    copied["metadata"]["name"] = "second"
    copied["spec"]["resourceClaims"] = []
    copied["spec"]["containers"][0]["resources"] = {"limits": gpu(gpumem=512)}
    wanted = json.loads(converted(copied).pod["metadata"]["annotations"][names.CLAIMS_ANNOTATION])
    assert list(wanted["claims"]) == ["ml-second-cuda"]


@pytest.mark.parametrize("is_file", [True, False], ids=["hami convert", "API server"])
def test_what_a_copied_manifest_was_edited_to_ask_for_counts_and_the_rest_stays(is_file):
    source = pod(gpu(gpumem=1024, gpucores=50), name="first")
    source["spec"]["containers"].append(source["spec"]["containers"][0] | {"name": "other"})
    copied = converted(source).pod
    copied["metadata"]["name"] = "second"
    copied["spec"]["containers"][0]["resources"]["limits"] = gpu(gpumem=512)
    if not is_file:
        reviewed(copied, gpu(gpumem=512), annotations=[names.CLAIMS_ANNOTATION])
    claims = converted(copied).claims
    amounts = {
        name: claim["devices"]["requests"][0]["exactly"]["capacity"]["requests"]
        for name, claim in claims.items()
    }
    assert amounts == {
        "ml-second-cuda": {"memory": str(GIB // 2), "cores": "0"},
        "ml-second-other": {"memory": str(GIB), "cores": "50"},
    }


@pytest.mark.parametrize(("limits", "claims"), [(gpu(gpu=1), ["ml-second-cuda"]), (gpu(gpu=0), [])])
def test_a_copied_manifest_that_asks_for_a_whole_card_or_none_keeps_no_claim_of_the_first(limits, claims):
    copied = converted(pod(gpu(gpumem=1024), name="first")).pod
    copied["metadata"]["name"] = "second"
    copied["spec"]["containers"][0]["resources"]["limits"] = limits
    copied["spec"]["nodeName"] = "" if claims else "gpu-a"
    made = convert(copied, "ml", Settings(extended_resource=True), NOWHERE)
    assert [entry["resourceClaimName"] for entry in made.pod["spec"]["resourceClaims"]] == claims
    assert list(made.claims) == claims


def test_what_is_filled_into_a_copied_manifest_is_not_what_it_asks_for():
    copied = converted(pod(gpu(gpumem=1024))).pod
    copied["spec"]["containers"][0]["resources"]["limits"] = gpu(gpumem=512)
    reviewed(copied, annotations=[names.CLAIMS_ANNOTATION])
    assert converted(copied).pod["metadata"]["annotations"][names.ASKED_MEMORY] == "1024"

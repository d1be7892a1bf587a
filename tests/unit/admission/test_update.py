"""A manifest is applied again after its Pod has been converted: the Pod stays as it is, or says why."""

import copy

import pytest
from starlette.testclient import TestClient

from hami_dra.admission.families import NVIDIA
from hami_dra.admission.patch import Surroundings, convert
from hami_dra.admission.request import CONTAINER_LISTS
from hami_dra.admission.server import AdmissionServer
from hami_dra.admission.settings import Settings
from hami_dra.admission.update import restored
from hami_dra.model import names
from hami_dra.model.errors import RequestDenied
from tests.unit.admission import cases
from tests.unit.admission.pods import gpu, patched, pod
from tests.unit.admission.test_cases import CONVERTED, CONVERTED_IDS, all_containers, converted


def applied(source, stored):
    """STORED as the API server sees it when the manifest SOURCE is applied to it."""
    merged = copy.deepcopy(stored)
    merged["spec"] |= {key: value for key, value in source["spec"].items() if key not in CONTAINER_LISTS}
    merged["spec"]["resourceClaims"] = stored["spec"]["resourceClaims"]
    for asked, container in zip(all_containers(source), all_containers(merged), strict=True):
        resources = copy.deepcopy(asked["resources"])
        limits = container["resources"].get("limits", {}) | resources.get("limits", {})
        # The API server's own default: requests are as limits.
        requests = container["resources"].get("requests", {}) | limits | resources.get("requests", {})
        container["resources"] |= {
            key: value for key, value in (("limits", limits), ("requests", requests)) if value
        }
        if "claims" in resources:
            container["resources"]["claims"] = resources["claims"]
    return merged


def defaulted(found):
    """As it is stored: requests are as limits."""
    found = copy.deepcopy(found)
    for container in all_containers(found):
        resources = container["resources"]
        if requests := resources.get("limits", {}) | resources.get("requests", {}):
            resources["requests"] = requests
    return found


@pytest.mark.parametrize("row", CONVERTED, ids=CONVERTED_IDS)
def test_each_pod_of_the_table_can_be_applied_again_and_stays_as_it_is(row):
    source = cases.pod(row)
    stored = defaulted(converted(row).pod)
    merged = applied(source, stored)
    before = copy.deepcopy(merged)
    assert restored(merged, stored, (NVIDIA,)) == stored
    assert merged == before, "a review must not change what it looks at"


def made(**more):
    return defaulted(convert(pod(gpu(gpu=1, gpumem=1024), **more), "ml", Settings(), Surroundings()).pod)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            gpu(gpu=1, gpumem=2048),
            ["nvidia.com/gpumem 2048", "made with nvidia.com/gpu 1, nvidia.com/gpumem 1024"],
        ),
        (gpu(gpu=1), ["asks for nvidia.com/gpu 1, "]),
        (gpu(gpu=1, gpumem=1024, gpucores=50), ["nvidia.com/gpucores 50"]),
    ],
)
def test_other_amounts_are_refused_with_both_and_the_way_out(asked, words):
    stored = made()
    with pytest.raises(RequestDenied) as refusal:
        restored(applied(pod(asked), stored), stored, (NVIDIA,))
    for said in [*words, "spec.containers[cuda]: ", "fixed when it is made", "kubectl replace --force"]:
        assert said in str(refusal.value)


@pytest.mark.parametrize("written", [None, "{", "[]", '{"cuda": 1}'])
def test_a_pod_that_does_not_say_what_it_was_made_with_is_not_taken_at_its_word(written):
    stored = made()
    del stored["metadata"]["annotations"][names.RESOURCES_ANNOTATION]
    if written:
        stored["metadata"]["annotations"][names.RESOURCES_ANNOTATION] = written
    with pytest.raises(RequestDenied, match="fixed when it is made"):
        restored(applied(pod(gpu(gpu=1, gpumem=1024)), stored), stored, (NVIDIA,))


def test_a_change_of_other_resources_is_left_for_the_api_server_to_refuse():
    stored = made()
    merged = applied(pod(gpu(gpu=1, gpumem=1024) | {"cpu": "2"}), stored)
    (container,) = restored(merged, stored, (NVIDIA,))["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "2"}


def test_a_container_that_an_update_adds_gets_no_share():
    stored = made()
    merged = applied(pod(gpu(gpu=1, gpumem=1024)), stored)
    merged["spec"]["containers"].append({"name": "more", "resources": {"limits": gpu(gpu=1)}})
    with pytest.raises(RequestDenied, match=r"containers\[more\]"):
        restored(merged, stored, (NVIDIA,))


def test_amounts_of_an_earlier_review_are_kept_when_another_webhook_adds_a_container():
    once = convert(pod(gpu(gpumem=1024)), "ml", Settings(), Surroundings()).pod
    injected = {"name": "agent", "resources": {"limits": gpu(gpumem=512)}}
    once["spec"]["containers"].append(copy.deepcopy(injected))
    stored = defaulted(convert(once, "ml", Settings(), Surroundings()).pod)
    source = pod(gpu(gpumem=1024))
    source["spec"]["containers"].append(injected)
    assert restored(applied(source, stored), stored, (NVIDIA,)) == stored


def answer(source, stored):
    request = {"uid": "1", "namespace": "ml", "operation": "UPDATE", "object": source, "oldObject": stored}
    client = TestClient(AdmissionServer(Settings(), Surroundings).app)
    return client.post("/mutate", json={"request": request}).json()["response"]


def test_the_server_answers_an_update_with_the_pod_as_it_was():
    stored = made()
    stored["spec"]["nodeName"] = "a"
    merged = applied(pod(gpu(gpu=1, gpumem=1024)), stored)
    merged["metadata"]["labels"]["mine"] = "new"
    found = patched(merged, answer(merged, stored))
    assert found["spec"] == stored["spec"]
    assert found["metadata"] == merged["metadata"]


def test_an_update_never_converts_a_pod_that_was_not_when_it_was_made():
    plain = pod(gpu(gpu=1))
    assert answer(plain | {"metadata": {"labels": {"a": "b"}}}, plain) == {"uid": "1", "allowed": True}


def test_a_claim_that_a_manifest_adds_is_left_for_the_api_server_to_refuse():
    stored = made()
    updated = applied(pod(gpu(gpu=1, gpumem=1024)), stored)
    updated["spec"]["containers"][0]["resources"]["claims"] = [{"name": "another"}]
    (container,) = restored(updated, stored, (NVIDIA,))["spec"]["containers"]
    assert container["resources"]["claims"] == [{"name": "another"}]

"""Native claims, templates and Pods with an error are refused in words that name the fix."""

import copy

import pytest

from hami_dra.admission import metadata
from hami_dra.kube import kinds
from hami_dra.model import names
from hami_dra.model.parameters import API_VERSION, KIND
from tests.control_plane.conftest import asked, pod

CLAIM = {
    "metadata": {"name": "half"},
    "spec": {
        "devices": {
            "requests": [
                {
                    "name": "gpu",
                    "exactly": {
                        "deviceClassName": names.DRIVER,
                        "capacity": {"requests": {"memory": "10Gi", "cores": "50"}},
                    },
                }
            ]
        }
    },
}


def claim(amounts=None, parameters=None, device_class=names.DRIVER):
    made = copy.deepcopy(CLAIM)
    devices = made["spec"]["devices"]
    devices["requests"][0]["exactly"]["deviceClassName"] = device_class
    if amounts:
        devices["requests"][0]["exactly"]["capacity"]["requests"] = amounts
    if parameters:
        opaque = {
            "driver": names.DRIVER,
            "parameters": {"apiVersion": API_VERSION, "kind": KIND} | parameters,
        }
        devices["config"] = [{"opaque": opaque}]
    return made


AMD, ASCEND = "amd.project-hami.io", "ascend.project-hami.io"
WRONG = [
    (claim({"gpumem": "16Gi"}, device_class=AMD), "capacity.requests[gpumem]: no card has such a capacity"),
    (claim({"cores": "50"}, device_class=ASCEND), "capacity.requests[cores]: no card has such a capacity"),
    (claim({"mem": "4Gi"}, device_class=names.MIG_CLASS), "capacity.requests[mem]: no card has such"),
    (claim({"mem": "10Gi"}), "capacity.requests[mem]: no card has such a capacity. Write memory"),
    (claim({"core": "50"}), "capacity.requests[core]: no card has such a capacity. Write cores"),
    (claim({"memory": "10"}), "10 is less than 1 MiB: a number alone counts bytes. Write 10Gi"),
    (claim({"cores": "150"}), "150 is no percentage of a card. Write 0 to 100"),
    (claim(parameters={"priority": "urgent"}), "parameters.priority: 'urgent' is not allowed"),
    (claim(parameters={"coresPolicies": "soft"}), "parameters.coresPolicies: unknown field"),
    (
        claim(parameters={"enforcement": "none"}),
        "parameters.enforcement: none is the administrator's to give",
    ),
]


@pytest.mark.parametrize(("body", "words"), WRONG, ids=[words for _, words in WRONG])
def test_a_claim_and_a_template_with_an_error_are_refused(space, body, words):
    assert f"spec.devices.{'config' if 'parameters.' in words else 'requests'}" in (
        refused := space.refusal(kinds.RESOURCE_CLAIMS, body)
    )
    assert words in refused
    template = {"metadata": {"name": "half"}, "spec": {"spec": body["spec"]}}
    refused = space.refusal(kinds.RESOURCE_CLAIM_TEMPLATES, template)
    assert "spec.spec.devices" in refused
    assert words in refused


def test_good_claims_and_claims_of_others_are_stored(space):
    stored = space.create(kinds.RESOURCE_CLAIMS, claim(parameters={"priority": "high"}))
    assert "ShareParameters" in asked(stored)
    foreign = claim({"mem": "1"})
    foreign["metadata"]["name"] = "foreign"
    foreign["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"] = "gpu.example.com"
    space.create(kinds.RESOURCE_CLAIMS, foreign)


def test_a_claim_that_would_crash_the_scheduler_of_the_release_is_refused(space):
    body = claim({"memory": "16Mi"})
    body["spec"]["devices"]["requests"][0]["exactly"]["count"] = 2
    if space.plane.release.minor == "1.34":
        assert "kube-scheduler of Kubernetes 1.34 crashes" in space.refusal(kinds.RESOURCE_CLAIMS, body)
    else:
        space.create(kinds.RESOURCE_CLAIMS, body)


def test_parameters_for_a_driver_that_takes_none_are_refused(space):
    body = claim({"memory": "16Gi"}, device_class="gpu.example.com")
    body["spec"]["devices"]["config"] = [{"opaque": {"driver": ASCEND, "parameters": {"a": 1}}}]
    assert f"{ASCEND} takes no parameters" in space.refusal(kinds.RESOURCE_CLAIMS, body)


def by_hand(**names_it):
    made = pod(name="by-hand", nodeName="small", resourceClaims=[{"name": "gpu"} | names_it])
    made["spec"]["containers"][0]["resources"] = {"claims": [{"name": "gpu"}]}
    return made


def test_a_pod_put_on_a_node_by_hand_is_refused_with_the_reason(space):
    """However new its claim is: many times, since a watch is late only sometimes."""
    for at in range(20):
        name = f"half-{at}"
        space.create(kinds.RESOURCE_CLAIMS, CLAIM | {"metadata": {"name": name}})
        refused = space.refusal(kinds.PODS, by_hand(resourceClaimName=name))
        assert "spec.nodeName: the Pod never passes the scheduler, which allocates its claim gpu" in refused
    template = {"metadata": {"name": "half"}, "spec": {"spec": CLAIM["spec"]}}
    space.create(kinds.RESOURCE_CLAIM_TEMPLATES, template)
    assert "spec.nodeName" in space.refusal(kinds.PODS, by_hand(resourceClaimTemplateName="half"))
    assert "spec.nodeName" in space.refusal(kinds.PODS, pod({"gpumem": 512}, nodeName="small"))
    space.create(kinds.PODS, pod(name="bystander", nodeName="small"))


def test_a_pod_put_on_a_node_by_hand_may_share_a_claim_as_soon_as_it_is_allocated(space):
    for at in range(5):
        name = f"half-{at}"
        claim = copy.deepcopy(CLAIM) | {"metadata": {"name": name}}
        claim["spec"]["devices"]["requests"][0]["exactly"]["capacity"]["requests"] = {"memory": "16Mi"}
        space.create(kinds.RESOURCE_CLAIMS, claim)
        used = [{"name": "gpu", "resourceClaimName": name}]
        space.create(kinds.PODS, pod(name=f"first-{at}", resourceClaims=used))
        space.allocated(at + 1)
        beside = by_hand(resourceClaimName=name)
        beside["metadata"]["name"] = f"second-{at}"
        space.create(kinds.PODS, beside)


def test_annotations_may_be_exactly_as_long_as_the_api_server_allows(space):
    made = space.try_pod(pod({"gpumem": 512}))["metadata"]["annotations"]
    ours = sum(len(key) + len(text) for key, text in made.items())
    longest = "x" * (metadata.MOST_BYTES - ours - len("notes"))
    space.try_pod(pod({"gpumem": 512}, annotations={"notes": longest}))
    said = space.refusal(kinds.PODS, pod({"gpumem": 512}, annotations={"notes": longest + "x"}))
    assert f"bytes, and admission adds {ours}: Kubernetes allows 262144 in all" in said


def test_an_ephemeral_container_with_a_share_is_refused_and_one_without_is_not(space):
    space.create(kinds.PODS, pod({"gpumem": 512}))
    space.allocated(1)

    def attach(resources):
        look = {"name": "look", "image": "x", "resources": resources, "terminationMessagePolicy": "File"}
        body = {"spec": {"ephemeralContainers": [look]}}
        path = "/".join([kinds.PODS.path(space.name, "train"), "ephemeralcontainers"])
        kind = "application/strategic-merge-patch+json"
        return space.plane.ask("PATCH", path, body, content_type=kind)

    with pytest.raises(Exception, match="an ephemeral container gets no share") as refused:
        attach({"limits": {"nvidia.com/gpumem": "512"}})
    assert "kubectl exec" in str(refused.value)
    assert attach({})["spec"]["ephemeralContainers"][0]["name"] == "look"

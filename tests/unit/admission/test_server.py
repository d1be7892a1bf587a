import base64
import dataclasses
import json

import pytest
from starlette.testclient import TestClient

from hami_dra.admission.families import NVIDIA
from hami_dra.admission.patch import Surroundings, convert
from hami_dra.admission.server import AdmissionServer
from hami_dra.admission.settings import Settings
from hami_dra.admission.validate import Stored
from hami_dra.model import names
from tests.unit.admission import cases
from tests.unit.admission.pods import gpu, patched, pod


@pytest.fixture
def client():
    return TestClient(AdmissionServer(Settings(), Surroundings).app)


def review(source, client, path="/mutate", **more):
    request = {"uid": "1", "namespace": "ml", "object": source, "kind": {"kind": source["kind"]}} | more
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return client.post(path, json=body).json()["response"]


CONVERTED = [(name, row) for name, row in cases.load() if "share" in row or "shares" in row]


@pytest.mark.parametrize(("name", "row"), CONVERTED, ids=[name for name, _ in CONVERTED])
def test_the_patch_turns_each_pod_of_the_table_into_its_conversion(name, row):
    server = AdmissionServer(cases.settings(row), lambda: cases.surroundings(row))
    source = cases.pod(row)
    answer = review(source, TestClient(server.app))
    made = convert(source, "ml", cases.settings(row), cases.surroundings(row))
    assert answer["allowed"]
    assert patched(source, answer) == json.loads(json.dumps(made.pod))
    assert answer.get("warnings", []) == made.warnings


def test_the_patch_touches_only_what_changes(client):
    answer = review(pod(gpu(gpu=1)) | {"metadata": {"name": "train", "labels": {"a": "b"}}}, client)
    patch = json.loads(base64.b64decode(answer["patch"]))
    assert [step["path"] for step in patch] == [
        "/spec/containers/0/resources",
        "/spec/resourceClaims",
        "/metadata/labels",
        "/metadata/annotations",
    ]
    assert patch[2]["value"] == {"a": "b", names.CONVERTED_LABEL: "true"}


def test_a_pod_without_metadata_gets_some(client):
    source = pod(gpu(gpu=1))
    del source["metadata"]
    assert patched(source, review(source, client))["metadata"]["labels"] == {names.CONVERTED_LABEL: "true"}


def test_a_denial_says_why(client):
    answer = review(pod(gpu(gpu=1, gpucores=101)), client)
    assert not answer["allowed"]
    assert answer["status"]["code"] == 422
    assert "nvidia.com/gpucores is 101" in answer["status"]["message"]


def test_a_pod_without_our_resources_passes_unchanged(client):
    assert review(pod({"cpu": "1"}), client) == {"uid": "1", "allowed": True}


def test_an_ephemeral_container_that_asks_for_a_share_is_denied_and_another_is_not(client):
    running = pod()
    running["spec"]["nodeName"] = "a"
    look = {"name": "look", "resources": {"limits": gpu(gpu=1)}}
    running["spec"]["ephemeralContainers"] = [look]
    answer = review(running, client, subResource="ephemeralcontainers")
    assert "an ephemeral container gets no share" in answer["status"]["message"]
    running["spec"]["ephemeralContainers"] = [{"name": "look"}]
    assert review(running, client, subResource="ephemeralcontainers")["allowed"]


MALFORMED = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"x"',
    b'{"request": null}',
    b'{"request": {"uid": "1"}}',
    b"\xff\xfe",
]


@pytest.mark.parametrize("path", ["/mutate", "/validate"])
@pytest.mark.parametrize("body", MALFORMED)
def test_what_is_no_review_is_a_client_error_and_the_server_goes_on(client, body, path):
    assert client.post(path, content=body).status_code == 400
    assert review(pod(gpu(gpu=1)), client)["allowed"]


ODD_PODS = [
    {"kind": "Pod"},
    {"kind": "Pod", "spec": None},
    {"kind": "Pod", "spec": {"containers": None}},
    {"kind": "Pod", "spec": {"containers": [None]}},
    {"kind": "Pod", "spec": {"containers": [{"resources": {"limits": gpu(gpu=1)}}]}},
    {"kind": "Pod", "spec": {"containers": [{"name": "c", "resources": {"limits": [1]}}]}},
    {"kind": "Pod", "metadata": None, "spec": {"containers": [{"name": "c", "resources": None}]}},
    pod(gpu(gpu=1)) | {"metadata": {"name": "x", "annotations": None, "labels": None}},
]


@pytest.mark.parametrize("source", ODD_PODS, ids=range(len(ODD_PODS)))
def test_an_odd_pod_gets_an_answer_and_never_a_server_error(client, source):
    body = {"request": {"uid": "1", "object": source}}
    assert client.post("/mutate", json=body).status_code in (200, 400)


def test_a_body_larger_than_any_review_is_refused(client):
    assert client.post("/mutate", content=b"x" * (7 * 1024 * 1024)).status_code == 413


def claim(name="memory", amount="10Gi"):
    exactly = {"deviceClassName": names.DRIVER, "capacity": {"requests": {name: amount}}}
    return {"kind": "ResourceClaim", "spec": {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}}}


def test_a_native_claim_with_a_typing_error_is_denied_with_the_right_word(client):
    answer = review(claim("mem"), client, "/validate")
    assert answer["status"]["message"] == (
        "spec.devices.requests[0].exactly.capacity.requests[mem]: no card has such a capacity. Write memory"
    )
    assert review(claim(), client, "/validate") == {"uid": "1", "allowed": True}


def test_native_claims_of_the_releases_own_class_are_looked_at_where_admission_names_another():
    settings = Settings((dataclasses.replace(NVIDIA, device_class="ours.example.com"),))
    client = TestClient(AdmissionServer(settings, Surroundings).app)
    assert not review(claim("mem"), client, "/validate")["allowed"]


def test_a_pod_put_on_a_node_is_looked_at_with_the_claims_of_its_own_namespace():
    """They are not allocated, and no scheduler will ever see the Pod."""
    body = pod({"name": "cuda"})
    body["spec"] |= {"nodeName": "a", "resourceClaims": [{"name": "gpu", "resourceClaimName": "half"}]}
    stored = Stored(claim=lambda namespace, name: claim() if (namespace, name) == ("ml", "half") else None)
    client = TestClient(AdmissionServer(Settings(), Surroundings, stored).app)
    assert not review(body, client, "/validate")["allowed"]
    assert review(body, client, "/validate", namespace="other")["allowed"]


def test_a_template_is_looked_at_as_its_claim_is(client):
    template = {"kind": "ResourceClaimTemplate", "spec": {"spec": claim("core", "50")["spec"]}}
    message = review(template, client, "/validate")["status"]["message"]
    assert message.startswith("spec.spec.devices.requests[0].exactly.capacity.requests[core]")

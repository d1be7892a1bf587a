"""What the controller makes for one Pod, and what it leaves alone."""

import datetime
import json

import pytest

from hami_dra.admission import claim_objects, metadata
from hami_dra.admission.admitted import Admitted
from hami_dra.admission.controller import ClaimController
from hami_dra.admission.patch import Surroundings, convert
from hami_dra.admission.settings import Settings
from hami_dra.kube import kinds
from hami_dra.kube.cache import key_of
from hami_dra.kube.protocol import WatchEvent
from hami_dra.model import errors, names
from hami_dra.model.parameters import API_VERSION, KIND
from tests.unit.admission.converted import claims
from tests.unit.admission.pods import gpu, pod


def test_a_bare_pods_claim_is_made_and_belongs_to_it(kube, controller, admit):
    admitted = admit()
    controller.reconcile(admitted)
    (claim,) = claims(kube)
    assert key_of(claim) == ("ml", "ml-train-cuda")
    (owner,) = claim["metadata"]["ownerReferences"]
    assert owner["uid"] == admitted["metadata"]["uid"]


def test_a_second_replica_of_the_controller_does_no_harm(kube, watched, controller, admit):
    admitted = admit()
    controller.reconcile(admitted)
    ClaimController(kube, watched, {names.DRIVER}).reconcile(admitted)
    assert len(claims(kube)) == 1


def test_a_leftover_of_a_former_pod_is_replaced(kube, pods, controller, admit):
    former = admit()
    controller.reconcile(former)
    kube.delete(kinds.PODS, "train", "ml")
    pods.take(WatchEvent("DELETED", former))
    new = admit()
    with pytest.raises(errors.Unavailable):
        controller.reconcile(new)
    controller.reconcile(new)
    (claim,) = claims(kube)
    assert claim["metadata"]["ownerReferences"][0]["uid"] == new["metadata"]["uid"]


def test_a_former_pods_claim_that_the_scheduler_has_given_to_its_successor_stays(kube, controller, admit):
    """One that is created within milliseconds, before anybody knows of the former's claim, names the same."""
    former = admit()
    controller.reconcile(former)
    kube.delete(kinds.PODS, "train", "ml")
    new = admit()
    holder = {"resource": "pods", "name": "train", "uid": new["metadata"]["uid"]}
    given = kube.patch(kinds.RESOURCE_CLAIMS, "ml-train-cuda", {"status": {"reservedFor": [holder]}}, "ml")
    controller.reconcile(new)
    assert claims(kube) == [given]


@pytest.mark.parametrize("unseen", ["its label is gone", "it is newer than what we know"])
def test_the_claim_of_a_living_pod_that_we_do_not_see_stays(kube, pods, controller, admit, unseen):
    known = admit()
    if unseen == "its label is gone":
        owner, known = known, admit(name="ml-copy")
        wanted = known["metadata"]["annotations"][names.CLAIMS_ANNOTATION]
        known["metadata"]["annotations"][names.CLAIMS_ANNOTATION] = wanted.replace("ml-ml-copy", "ml-train")
        known["spec"]["resourceClaims"][0]["resourceClaimName"] = "ml-train-cuda"
    else:
        kube.delete(kinds.PODS, "train", "ml")
        owner = admit()
    controller.reconcile(owner)
    before = claims(kube)
    pods.take(WatchEvent("DELETED", owner))
    with pytest.raises(errors.Denied, match="belongs to Pod train"):
        controller.reconcile(known)
    assert claims(kube) == before


def test_somebody_elses_claim_of_that_name_is_never_touched(kube, controller, admit):
    theirs = {"metadata": {"name": "ml-train-cuda", "namespace": "ml"}, "spec": {}}
    kube.create(kinds.RESOURCE_CLAIMS, theirs, "ml")
    with pytest.raises(errors.Denied, match="not this Pod's"):
        controller.reconcile(admit())
    (claim,) = claims(kube)
    assert "ownerReferences" not in claim["metadata"]


def test_a_pod_that_was_copied_from_a_living_one_is_told_whose_claim_it_names(kube, controller, admit):
    controller.reconcile(admit())
    copied = admit(name="ml-copy")
    copied["spec"]["resourceClaims"][0]["resourceClaimName"] = "ml-train-cuda"
    wanted = copied["metadata"]["annotations"][names.CLAIMS_ANNOTATION]
    copied["metadata"]["annotations"][names.CLAIMS_ANNOTATION] = wanted.replace("ml-ml-copy", "ml-train")
    with pytest.raises(errors.Denied, match=r"ml-train-cuda belongs to Pod train; rename this Pod or, if .*"):
        controller.reconcile(copied)
    assert len(claims(kube)) == 1


def test_a_claim_that_a_person_made_of_what_convert_prints_is_the_pods_and_stays(kube, controller, admit):
    admitted = admit()
    ((name, spec),) = metadata.wanted(admitted["metadata"]["annotations"])["claims"].items()
    theirs = kube.create(kinds.RESOURCE_CLAIMS, claim_objects.bare_claim("ml", name, spec), "ml")
    controller.reconcile(admitted)
    assert claims(kube) == [theirs]


def test_replicas_share_one_template(kube, controller, admit):
    for _ in range(3):
        controller.reconcile(admit(name=""))
    assert len(kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0]) == 1
    assert claims(kube) == []


def test_a_template_that_came_and_went_while_the_watch_was_broken_is_made_again(
    kube, controller, admit, monkeypatch
):
    monkeypatch.setattr("hami_dra.admission.controller.UNSEEN_S", 0.0)
    controller.reconcile(admit(name=""))  # nothing is watched here, so nobody tells of it
    (template,) = kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0]
    kube.delete(kinds.RESOURCE_CLAIM_TEMPLATES, template["metadata"]["name"], "ml")
    controller.reconcile(admit(name=""))
    assert len(kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0]) == 1


@pytest.mark.parametrize(
    "forgery", ["other class", "not referenced", "admin access", "count", "all devices", "parameters"]
)
def test_a_forged_annotation_makes_nothing_and_is_told_on_the_pod(kube, controller, admit, forgery):
    forged = admit()
    wanted = json.loads(forged["metadata"]["annotations"][names.CLAIMS_ANNOTATION])
    devices = wanted["claims"]["ml-train-cuda"]["devices"]
    if forgery == "other class":
        devices["requests"][0]["exactly"]["deviceClassName"] = "another"
    elif forgery == "admin access":
        devices["requests"][0]["exactly"]["adminAccess"] = True
    elif forgery == "count":  # kube-scheduler of Kubernetes 1.34 crashes on it
        devices["requests"][0]["exactly"]["count"] = 2
    elif forgery == "all devices":
        devices["requests"][0]["exactly"] |= {"allocationMode": "All", "count": 0}
    elif forgery == "parameters":
        parameters = {"apiVersion": API_VERSION, "kind": KIND, "enforcement": "none"}
        devices["config"] = [{"opaque": {"driver": names.DRIVER, "parameters": parameters}}]
    else:
        forged["spec"]["resourceClaims"] = []
    forged["metadata"]["annotations"][names.CLAIMS_ANNOTATION] = json.dumps(wanted)
    controller.reconcile(forged)
    assert claims(kube) == []
    (event,) = kube.list(kinds.EVENTS)[0]
    assert "ml-train-cuda of the annotation hami.io/claims is not made" in event["message"]
    assert "Create the Pod from its manifest" in event["message"]


def test_no_template_is_made_under_the_name_of_another_content(kube, controller, admit):
    """Every Pod of the namespace with that shape would get what the forger wants."""
    forged = admit(name="")
    wanted = json.loads(forged["metadata"]["annotations"][names.CLAIMS_ANNOTATION])
    ((name, spec),) = wanted["templates"].items()
    spec["devices"]["requests"][0]["exactly"]["capacity"]["requests"]["memory"] = "1048576"
    forged["metadata"]["annotations"][names.CLAIMS_ANNOTATION] = json.dumps(wanted)
    controller.reconcile(forged)
    assert kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0] == []
    (event,) = kube.list(kinds.EVENTS)[0]
    assert f"{name} of the annotation hami.io/claims is not made: it is not the name" in event["message"]


def test_a_pod_that_was_admitted_here_is_known_by_the_claim_or_template_that_it_names():
    admitted = Admitted()
    for name in ("train", ""):
        made = convert(pod(gpu(gpu=1), name=name), "ml", Settings(), Surroundings())
        mine = made.pod | {"metadata": made.pod["metadata"] | {"namespace": "ml"}}
        assert not admitted.here(mine)
        admitted.note("ml", [*made.claims, *made.templates])
        assert admitted.here(mine)
        assert not admitted.here(mine | {"metadata": {"namespace": "other"}})
    assert not admitted.here({"metadata": {"namespace": "ml"}, "spec": {}})


def test_names_of_long_ago_are_forgotten(monkeypatch):
    monkeypatch.setattr("hami_dra.admission.admitted.MOST", 2)
    admitted = Admitted()
    for name in ("a", "b", "c"):
        admitted.note("ml", [name])
    named = [
        {
            "metadata": {"namespace": "ml"},
            "spec": {"resourceClaims": [{"name": "x", "resourceClaimName": name}]},
        }
        for name in ("a", "b", "c")
    ]
    assert [admitted.here(each) for each in named] == [False, True, True]


@pytest.mark.parametrize("state", ["deleted", "finished"])
def test_nothing_is_made_for_a_pod_that_needs_nothing_any_more(kube, controller, admit, state):
    admitted = admit()
    if state == "deleted":
        admitted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    else:
        admitted["status"] = {"phase": "Failed"}
    controller.reconcile(admitted)
    assert claims(kube) == []


def test_pod_updates_cost_no_call_once_the_claim_is_seen(kube, watched, controller, admit):
    admitted = admit()
    controller.reconcile(admitted)
    watched.claims.take(WatchEvent("MODIFIED", claims(kube)[0]))
    before = len(kube.calls)
    for _ in range(10):
        controller.reconcile(admitted)
    assert len(kube.calls) == before


def test_templates_nobody_uses_are_collected_after_an_hour(kube, watched, controller, admit):
    used = admit(name="")
    controller.reconcile(used)
    (template,) = kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0]
    theirs = {"metadata": {"name": "theirs", "namespace": "ml"}, "spec": {}}
    kube.create(kinds.RESOURCE_CLAIM_TEMPLATES, theirs, "ml")
    now = datetime.datetime.now(datetime.UTC)
    for name in (template["metadata"]["name"], "theirs"):
        made = {"metadata": {"creationTimestamp": (now - datetime.timedelta(hours=2)).isoformat()}}
        old = kube.patch(kinds.RESOURCE_CLAIM_TEMPLATES, name, made, "ml")
        watched.templates.take(WatchEvent("MODIFIED", old))
    controller.collect(now)
    assert len(kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0]) == 2
    watched.pods.take(WatchEvent("DELETED", used))
    controller.collect(now - datetime.timedelta(hours=1, minutes=30))
    assert len(kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0]) == 2
    controller.collect(now)
    assert [item["metadata"]["name"] for item in kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0]] == ["theirs"]

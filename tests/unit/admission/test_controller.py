import datetime
import json

import pytest

from hami_dra.admission.controller import ClaimController
from hami_dra.admission.patch import Settings, Surroundings, convert
from hami_dra.kube import kinds
from hami_dra.kube.cache import Cache, Change, key_of
from hami_dra.model import errors, names
from tests.support.fake_kube import FakeKube
from tests.unit.admission.pods import gpu, pod


@pytest.fixture
def kube():
    return FakeKube()


@pytest.fixture
def pods(kube):
    return Cache(kube, kinds.PODS)


@pytest.fixture
def controller(kube, pods):
    return ClaimController(kube, pods, names.DRIVER)


@pytest.fixture
def admit(kube, pods):
    """Create a Pod as it comes out of admission."""

    def create(**kwargs):
        made = convert(pod(gpu(gpu=1, gpumem=1024), **kwargs), "ml", Settings(), Surroundings()).pod
        made["metadata"].setdefault("namespace", "ml")
        stored = kube.create(kinds.PODS, made, "ml")
        pods._apply(Change("set", stored))
        return stored

    return create


def claims(kube):
    return kube.list(kinds.RESOURCE_CLAIMS)[0]


def test_a_bare_pods_claim_is_made_and_belongs_to_it(kube, controller, admit):
    admitted = admit()
    controller.reconcile(admitted)
    (claim,) = claims(kube)
    assert key_of(claim) == ("ml", "ml-train-cuda")
    (owner,) = claim["metadata"]["ownerReferences"]
    assert owner["uid"] == admitted["metadata"]["uid"]


def test_a_second_replica_of_the_controller_does_no_harm(kube, pods, controller, admit):
    admitted = admit()
    controller.reconcile(admitted)
    ClaimController(kube, pods, names.DRIVER).reconcile(admitted)
    assert len(claims(kube)) == 1


def test_a_leftover_of_a_former_pod_is_replaced(kube, pods, controller, admit):
    former = admit()
    controller.reconcile(former)
    kube.delete(kinds.PODS, "train", "ml")
    pods._apply(Change("gone", former))
    new = admit()
    with pytest.raises(errors.Unavailable):
        controller.reconcile(new)
    controller.reconcile(new)
    (claim,) = claims(kube)
    assert claim["metadata"]["ownerReferences"][0]["uid"] == new["metadata"]["uid"]


def test_somebody_elses_claim_of_that_name_is_never_touched(kube, controller, admit):
    theirs = {"metadata": {"name": "ml-train-cuda", "namespace": "ml"}, "spec": {}}
    kube.create(kinds.RESOURCE_CLAIMS, theirs, "ml")
    with pytest.raises(errors.Denied, match="not this Pod's"):
        controller.reconcile(admit())
    (claim,) = claims(kube)
    assert "ownerReferences" not in claim["metadata"]


def test_replicas_share_one_template(kube, controller, admit):
    for _ in range(3):
        controller.reconcile(admit(name=""))
    assert len(kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0]) == 1
    assert claims(kube) == []


@pytest.mark.parametrize("forgery", ["other class", "not referenced", "admin access"])
def test_a_forged_annotation_makes_nothing_and_is_told_on_the_pod(kube, controller, admit, forgery):
    forged = admit()
    wanted = json.loads(forged["metadata"]["annotations"][names.CLAIMS_ANNOTATION])
    exactly = wanted["claims"]["ml-train-cuda"]["devices"]["requests"][0]["exactly"]
    if forgery == "other class":
        exactly["deviceClassName"] = "another"
    elif forgery == "admin access":
        exactly["adminAccess"] = True
    else:
        forged["spec"]["resourceClaims"] = []
    forged["metadata"]["annotations"][names.CLAIMS_ANNOTATION] = json.dumps(wanted)
    controller.reconcile(forged)
    assert claims(kube) == []
    assert "not ours" in kube.list(kinds.EVENTS)[0][0]["message"]


def test_templates_nobody_uses_are_collected_after_an_hour(kube, pods, controller, admit):
    used = admit(name="")
    controller.reconcile(used)
    (template,) = kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0]
    now = datetime.datetime.now(datetime.UTC)
    kube.patch(
        kinds.RESOURCE_CLAIM_TEMPLATES,
        template["metadata"]["name"],
        {"metadata": {"creationTimestamp": (now - datetime.timedelta(hours=2)).isoformat()}},
        "ml",
    )
    controller.collect(now)
    assert len(kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0]) == 1
    pods._apply(Change("gone", used))
    controller.collect(now)
    assert kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0] == []

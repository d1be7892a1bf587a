import datetime
import json
import threading
import time

import pytest

from hami_dra.admission import metadata, objects
from hami_dra.admission.admitted import Admitted
from hami_dra.admission.controller import WORKERS, ClaimController, Watched
from hami_dra.admission.patch import Settings, Surroundings, convert
from hami_dra.admission.watched import Cluster
from hami_dra.kube import kinds
from hami_dra.kube.cache import Cache, Change, key_of
from hami_dra.model import errors, names
from hami_dra.model.parameters import API_VERSION, KIND
from tests.support.fake_kube import FakeKube
from tests.unit.admission.pods import gpu, pod


@pytest.fixture
def kube():
    return FakeKube()


@pytest.fixture
def watched(kube):
    return Watched(
        *(Cache(kube, kind) for kind in (kinds.PODS, kinds.RESOURCE_CLAIMS, kinds.RESOURCE_CLAIM_TEMPLATES))
    )


@pytest.fixture
def pods(watched):
    return watched.pods


@pytest.fixture
def controller(kube, watched):
    return ClaimController(kube, watched, {names.DRIVER})


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


def claims(kube, name=""):
    return [item for item in kube.list(kinds.RESOURCE_CLAIMS)[0] if name in item["metadata"]["name"]]


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


def test_a_claim_that_a_person_made_of_what_convert_prints_is_the_pods_and_stays(kube, controller, admit):
    admitted = admit()
    ((name, spec),) = metadata.wanted(admitted["metadata"]["annotations"])["claims"].items()
    theirs = kube.create(kinds.RESOURCE_CLAIMS, objects.bare_claim("ml", name, spec), "ml")
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


@pytest.mark.parametrize("forgery", ["other class", "not referenced", "admin access", "parameters"])
def test_a_forged_annotation_makes_nothing_and_is_told_on_the_pod(kube, controller, admit, forgery):
    forged = admit()
    wanted = json.loads(forged["metadata"]["annotations"][names.CLAIMS_ANNOTATION])
    devices = wanted["claims"]["ml-train-cuda"]["devices"]
    if forgery == "other class":
        devices["requests"][0]["exactly"]["deviceClassName"] = "another"
    elif forgery == "admin access":
        devices["requests"][0]["exactly"]["adminAccess"] = True
    elif forgery == "parameters":
        parameters = {"apiVersion": API_VERSION, "kind": KIND, "enforcement": "none"}
        devices["config"] = [{"opaque": {"driver": names.DRIVER, "parameters": parameters}}]
    else:
        forged["spec"]["resourceClaims"] = []
    forged["metadata"]["annotations"][names.CLAIMS_ANNOTATION] = json.dumps(wanted)
    controller.reconcile(forged)
    assert claims(kube) == []
    assert "not ours" in kube.list(kinds.EVENTS)[0][0]["message"]


@pytest.fixture
def running(kube, watched, controller):
    """The controller at work on what it watches."""
    stopping = threading.Event()
    caches = (watched.pods, watched.claims, watched.templates)
    for cache in caches:
        cache.start()
        assert cache.synced.wait(5)
    thread = threading.Thread(target=controller.run, args=[stopping])
    thread.start()
    yield
    stopping.set()
    for cache in caches:
        cache.stop()
    kube.end_watches()
    thread.join(5)


def store(kube, **kwargs):
    """A Pod as it comes out of admission, in the API alone: the controller learns of it by its watch."""
    made = convert(pod(gpu(gpu=1, gpumem=1024), **kwargs), "ml", Settings(), Surroundings()).pod
    return kube.create(kinds.PODS, made, "ml")


def eventually(check, patience_s=30.0):
    deadline = time.monotonic() + patience_s
    while not (found := check()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def test_a_pod_replaced_by_force_gets_a_claim_of_its_own_as_soon_as_the_former_is_gone(kube, running):
    former = store(kube)
    eventually(lambda: claims(kube))
    # `kubectl replace --force`: the new Pod is there before the claim of the former is collected.
    kube.delete(kinds.PODS, "train", "ml")
    new = store(kube)

    def belongs_to_the_new_pod():
        found = claims(kube)
        return found and found[0]["metadata"]["ownerReferences"][0]["uid"] == new["metadata"]["uid"]

    eventually(belongs_to_the_new_pod)
    assert former["metadata"]["uid"] != new["metadata"]["uid"]
    assert len(claims(kube)) == 1


def test_a_refusal_by_quota_is_told_once_and_tried_again_until_there_is_room(kube, running, monkeypatch):
    monkeypatch.setattr("hami_dra.admission.work.LONGEST_PAUSE_S", 0.05)
    refused = errors.Denied("exceeded quota: gpus, requested: 1, used: 4, limited: 4", status=403)
    create, attempts = kube.create, []

    def full(kind, body, namespace=None):
        if kind is kinds.RESOURCE_CLAIMS and len(attempts) < 3:
            attempts.append(body)
            raise refused
        return create(kind, body, namespace)

    monkeypatch.setattr(kube, "create", full)
    store(kube)
    eventually(lambda: claims(kube))
    (event,) = kube.list(kinds.EVENTS)[0]
    assert event["reason"] == "ClaimRefused"
    assert "exceeded quota: gpus" in event["message"]
    assert event["involvedObject"]["name"] == "train"


def test_a_restarted_controller_finishes_what_its_predecessor_left(kube, watched):
    pods = [store(kube, name=f"train-{at}") for at in range(3)]
    ClaimController(kube, watched, {names.DRIVER}).reconcile(pods[0])
    controller, stopping = ClaimController(kube, watched, {names.DRIVER}), threading.Event()
    for cache in (watched.pods, watched.claims, watched.templates):
        cache.start()
    thread = threading.Thread(target=controller.run, args=[stopping])
    thread.start()
    eventually(lambda: len(claims(kube)) == 3)
    stopping.set()
    kube.end_watches()
    thread.join(5)
    owners = {item["metadata"]["ownerReferences"][0]["uid"] for item in claims(kube)}
    assert owners == {item["metadata"]["uid"] for item in pods}


def test_a_template_that_is_taken_away_while_a_pod_needs_it_is_made_again(kube, running):
    store(kube, name="")
    (template,) = eventually(lambda: kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0])
    kube.delete(kinds.RESOURCE_CLAIM_TEMPLATES, template["metadata"]["name"], "ml")
    eventually(lambda: kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0])


def creations(kube, kind):
    return [name for verb, plural, name in list(kube.calls) if (verb, plural) == ("create", kind.plural)]


def test_news_of_a_pod_that_come_before_those_of_its_claim_cost_no_call(kube):
    """As the scheduler's, while the watch of claims is late."""
    watched, stopping = Cluster(kube).watched, threading.Event()
    controller = ClaimController(kube, watched, {names.DRIVER})
    thread = threading.Thread(target=controller.run, args=[stopping])
    thread.start()
    watched.pods.start()
    for name in ("train", "last"):
        store(kube, name=name)
        eventually(lambda name=name: claims(kube, f"ml-{name}-cuda"))
        for at in range(5):
            kube.patch(kinds.PODS, "train", {"status": {"conditions": [name, at]}}, "ml")
    stopping.set()
    kube.end_watches()
    thread.join(5)
    assert creations(kube, kinds.RESOURCE_CLAIMS) == ["ml-train-cuda", "ml-last-cuda"]


def test_a_burst_of_pods_of_one_shape_costs_one_template(kube, running):
    for _ in range(5 * WORKERS):
        store(kube, name="")
    # Pods are worked on in turn: when the last one's claim is there, every template has been asked for.
    store(kube, name="last")
    eventually(lambda: claims(kube))
    assert len(creations(kube, kinds.RESOURCE_CLAIM_TEMPLATES)) == 1


def test_a_template_that_is_refused_is_made_later_for_all_pods_that_wait_for_it(kube, running, monkeypatch):
    kube.fail_on = ("create", kinds.RESOURCE_CLAIM_TEMPLATES.plural, 3)
    for _ in range(3):
        store(kube, name="")
    eventually(lambda: kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0])


@pytest.fixture
def elsewhere(kube, watched):
    """A controller that watches Pods which another replica has admitted."""
    stopping = threading.Event()
    other = ClaimController(kube, watched, {names.DRIVER}, lambda pod: False)
    thread = threading.Thread(target=other.run, args=[stopping])
    thread.start()
    yield
    stopping.set()
    thread.join(5)


def test_the_replica_that_admitted_a_pod_makes_its_claim_and_no_other_tries(
    kube, elsewhere, running, monkeypatch
):
    monkeypatch.setattr("hami_dra.admission.controller.OTHERS_FIRST_S", 30.0)
    for at in range(10):
        store(kube, name=f"train-{at}")
    eventually(lambda: len(claims(kube)) == 10)
    assert len(creations(kube, kinds.RESOURCE_CLAIMS)) == 10
    assert ("get", kinds.RESOURCE_CLAIMS.plural) not in {call[:2] for call in kube.calls}


def test_a_claim_whose_replica_is_gone_is_made_by_another(kube, watched, elsewhere, monkeypatch):
    monkeypatch.setattr("hami_dra.admission.controller.OTHERS_FIRST_S", 0.01)
    for cache in (watched.pods, watched.claims, watched.templates):
        cache.start()
    store(kube)
    eventually(lambda: claims(kube))
    kube.end_watches()


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


def test_a_pod_that_the_controller_stumbles_over_does_not_stop_the_work_on_others(kube, running, monkeypatch):
    create = kube.create

    def stumble(kind, body, namespace=None):
        if body["metadata"].get("name", "").startswith("ml-bad-"):
            raise KeyError("a mistake of ours")
        return create(kind, body, namespace)

    monkeypatch.setattr(kube, "create", stumble)
    for at in range(WORKERS + 1):
        store(kube, name=f"bad-{at}")
    store(kube, name="good")
    eventually(lambda: [item["metadata"]["name"] for item in claims(kube)] == ["ml-good-cuda"], 60)


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
    watched.claims._apply(Change("set", claims(kube)[0]))
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
        watched.templates._apply(Change("set", old))
    controller.collect(now)
    assert len(kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0]) == 2
    watched.pods._apply(Change("gone", used))
    controller.collect(now - datetime.timedelta(hours=1, minutes=30))
    assert len(kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0]) == 2
    controller.collect(now)
    assert [item["metadata"]["name"] for item in kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0]] == ["theirs"]

"""The controller at work on what it watches: many Pods, several replicas, refusals and mistakes."""

import threading

import pytest
from structlog.testing import capture_logs

from hami_dra.admission.cluster import Cluster
from hami_dra.admission.controller import WORKERS, ClaimController
from hami_dra.kube import kinds
from hami_dra.model import errors, names
from tests.support.waiting import until
from tests.unit.admission.converted import claims, creations, store


def test_a_pod_replaced_by_force_gets_a_claim_of_its_own_as_soon_as_the_former_is_gone(kube, running):
    former = store(kube)
    until(lambda: claims(kube))
    # `kubectl replace --force`: the new Pod is there before the claim of the former is collected.
    kube.delete(kinds.PODS, "train", "ml")
    new = store(kube)

    def belongs_to_the_new_pod():
        found = claims(kube)
        return found and found[0]["metadata"]["ownerReferences"][0]["uid"] == new["metadata"]["uid"]

    until(belongs_to_the_new_pod)
    assert former["metadata"]["uid"] != new["metadata"]["uid"]
    assert len(claims(kube)) == 1


def test_a_refusal_by_quota_is_told_once_and_tried_again_until_there_is_room(kube, running, monkeypatch):
    monkeypatch.setattr("hami_dra.admission.work_queue.LONGEST_PAUSE_S", 0.05)
    refused = errors.Denied("exceeded quota: gpus, requested: 1, used: 4, limited: 4", status=403)
    create, attempts = kube.create, []

    def full(kind, body, namespace=None):
        if kind is kinds.RESOURCE_CLAIMS and len(attempts) < 3:
            attempts.append(body)
            raise refused
        return create(kind, body, namespace)

    monkeypatch.setattr(kube, "create", full)
    store(kube)
    until(lambda: claims(kube))
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
    until(lambda: len(claims(kube)) == 3)
    stopping.set()
    kube.end_watches()
    thread.join(5)
    owners = {item["metadata"]["ownerReferences"][0]["uid"] for item in claims(kube)}
    assert owners == {item["metadata"]["uid"] for item in pods}


def test_a_restarted_controller_makes_nothing_before_it_knows_what_is_there(kube, watched):
    stored = [store(kube, name=f"train-{at}") for at in range(20)] + [store(kube, name="")]
    for pod in stored:
        ClaimController(kube, watched, {names.DRIVER}).reconcile(pod)
    kube.calls.clear()
    listed, stopping = threading.Event(), threading.Event()
    list_now = kube.list

    def late(kind, *arguments, **chosen):
        if kind is not kinds.PODS:
            listed.wait(5)
        return list_now(kind, *arguments, **chosen)

    kube.list = late
    controller = ClaimController(kube, watched, {names.DRIVER})
    for cache in (watched.pods, watched.claims, watched.templates):
        cache.start()
    thread = threading.Thread(target=controller.run, args=[stopping])
    thread.start()
    assert watched.pods.synced.wait(5)
    listed.set()
    store(kube, name="last")
    until(lambda: claims(kube, "ml-last-cuda"))
    stopping.set()
    kube.end_watches()
    thread.join(5)
    assert creations(kube, kinds.RESOURCE_CLAIMS) == ["ml-last-cuda"]
    assert creations(kube, kinds.RESOURCE_CLAIM_TEMPLATES) == []


def test_a_template_that_is_taken_away_while_a_pod_needs_it_is_made_again(kube, running):
    store(kube, name="")
    (template,) = until(lambda: kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0])
    kube.delete(kinds.RESOURCE_CLAIM_TEMPLATES, template["metadata"]["name"], "ml")
    until(lambda: kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0])


def test_a_claim_that_is_taken_away_while_its_pod_needs_it_is_made_again(kube, running):
    store(kube)
    (claim,) = until(lambda: claims(kube))
    kube.delete(kinds.RESOURCE_CLAIMS, claim["metadata"]["name"], "ml")
    until(lambda: claims(kube))


def test_news_of_a_pod_that_come_before_those_of_its_claim_cost_no_call(kube):
    """As the scheduler's, while the watch of claims is late."""
    watched, stopping = Cluster(kube).watched, threading.Event()
    for late in (watched.claims, watched.templates):
        late.synced.set()
    controller = ClaimController(kube, watched, {names.DRIVER})
    thread = threading.Thread(target=controller.run, args=[stopping])
    thread.start()
    watched.pods.start()
    for name in ("train", "last"):
        store(kube, name=name)
        until(lambda name=name: claims(kube, f"ml-{name}-cuda"))
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
    until(lambda: claims(kube))
    assert len(creations(kube, kinds.RESOURCE_CLAIM_TEMPLATES)) == 1


def test_a_template_that_is_refused_is_made_later_for_all_pods_that_wait_for_it(kube, running, monkeypatch):
    kube.fail_on = ("create", kinds.RESOURCE_CLAIM_TEMPLATES.plural, 3)
    for _ in range(3):
        store(kube, name="")
    until(lambda: kube.list(kinds.RESOURCE_CLAIM_TEMPLATES)[0])


def test_the_replica_that_admitted_a_pod_makes_its_claim_and_no_other_tries(
    kube, elsewhere, running, monkeypatch
):
    monkeypatch.setattr("hami_dra.admission.controller.OTHERS_FIRST_S", 30.0)
    for at in range(10):
        store(kube, name=f"train-{at}")
    until(lambda: len(claims(kube)) == 10)
    assert len(creations(kube, kinds.RESOURCE_CLAIMS)) == 10
    assert ("get", kinds.RESOURCE_CLAIMS.plural) not in {call[:2] for call in kube.calls}


def test_a_claim_whose_replica_is_gone_is_made_by_another(kube, watched, elsewhere, monkeypatch):
    monkeypatch.setattr("hami_dra.admission.controller.OTHERS_FIRST_S", 0.01)
    for cache in (watched.pods, watched.claims, watched.templates):
        cache.start()
    store(kube)
    until(lambda: claims(kube))
    kube.end_watches()


@pytest.fixture
def logged():
    with capture_logs() as lines:
        yield lines


def test_a_pod_that_the_controller_stumbles_over_does_not_stop_the_work_on_others(
    kube, logged, running, monkeypatch
):
    create = kube.create

    def stumble(kind, body, namespace=None):
        if body["metadata"].get("name", "").startswith("ml-bad-"):
            raise KeyError("a mistake of ours")
        return create(kind, body, namespace)

    monkeypatch.setattr(kube, "create", stumble)
    for at in range(WORKERS + 1):
        store(kube, name=f"bad-{at}")
    store(kube, name="good")
    until(lambda: [item["metadata"]["name"] for item in claims(kube)] == ["ml-good-cuda"], 60)
    told = [line["pod"] for line in logged if line.get("exc_info")]
    assert ("ml", "bad-0") in told

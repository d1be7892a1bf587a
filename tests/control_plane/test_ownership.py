"""Claims come and go with their Pods, whoever made these: no leak, no crossing."""

import pytest

from hami_dra.kube import kinds
from hami_dra.kube.kinds import Kind
from hami_dra.model import errors
from tests.control_plane.conftest import (
    NAMESPACES,
    Space,
    asked,
    end_pods,
    owners,
    pod,
    results,
    uids,
)
from tests.support import webhook_process
from tests.support.waiting import until

STATEFUL_SETS = Kind("apps", "v1", "statefulsets", "StatefulSet")
JOBS = Kind("batch", "v1", "jobs", "Job")
CRON_JOBS = Kind("batch", "v1", "cronjobs", "CronJob")
QUOTAS = Kind("", "v1", "resourcequotas", "ResourceQuota")


def template(limits):
    made = pod(limits)
    return {"metadata": {"labels": {"app": "x"}}, "spec": made["spec"] | {"restartPolicy": "Always"}}


def workload(kind, name, limits, **spec):
    selector = {"matchLabels": {"app": "x"}}
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name},
        "spec": {"selector": selector, "template": template(limits), **spec},
    }


def job(name, limits, **spec):
    made = template(limits)
    made["spec"]["restartPolicy"] = "Never"
    body = {"template": made, **spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": body}


def settled(space, count):
    """Once there are COUNT Pods, each the owner of exactly one claim."""
    return until(
        lambda: len(uids(space)) == count == len(space.claims()) and owners(space) == uids(space),
        lambda: f"{count} Pods with a claim each, not {len(uids(space))} with {len(space.claims())}",
    )


SHARE = {"gpumem": 512}


@pytest.mark.parametrize(
    "body",
    [
        workload(kinds.DEPLOYMENTS, "web", SHARE, replicas=2),
        workload(STATEFUL_SETS, "web", SHARE, replicas=2, serviceName="web", podManagementPolicy="Parallel"),
        workload(kinds.DAEMON_SETS, "web", SHARE),
        job("web", SHARE, completions=2, parallelism=2),
        job("web", SHARE, completions=2, parallelism=2, completionMode="Indexed"),
    ],
    ids=["Deployment", "StatefulSet", "DaemonSet", "Job", "indexed Job"],
)
def test_each_pod_of_a_controller_has_a_claim_of_its_own_that_goes_with_it(space, body):
    kind = next(
        kind
        for kind in (kinds.DEPLOYMENTS, STATEFUL_SETS, kinds.DAEMON_SETS, JOBS)
        if kind.kind == body["kind"]
    )
    space.create(kind, body)
    settled(space, 2)
    assert len(space.list(kinds.RESOURCE_CLAIM_TEMPLATES)) == 1
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
    space.plane.ask("DELETE", kind.path(space.name, "web"), options)
    end_pods(space)
    until(lambda: space.claims() == [], "the claims to go with their Pods")


def test_a_cron_jobs_pods_get_claims(space):
    body = {"schedule": "* * * * *", "jobTemplate": {"spec": job("x", SHARE)["spec"]}}
    space.create(CRON_JOBS, {"metadata": {"name": "nightly"}, "spec": body | {"suspend": True}})
    # As `kubectl create job --from=cronjob/nightly` does.
    space.create(JOBS, {"metadata": {"name": "now"}, "spec": body["jobTemplate"]["spec"]})
    settled(space, 1)


def test_a_suspended_job_holds_nothing_until_it_is_resumed_and_nothing_when_suspended_again(space):
    space.create(JOBS, job("queued", SHARE, suspend=True, parallelism=2, completions=2))
    until(lambda: space.client.get(JOBS, "queued", space.name)["status"].get("conditions"), "suspension")
    assert space.list(kinds.PODS) == []
    assert space.claims() == []
    space.client.patch(JOBS, "queued", {"spec": {"suspend": False}}, space.name)
    settled(space, 2)
    space.client.patch(JOBS, "queued", {"spec": {"suspend": True}}, space.name)
    until(lambda: all("deletionTimestamp" in item["metadata"] for item in space.list(kinds.PODS)), "the end")
    end_pods(space)
    until(lambda: space.claims() == [], "the claims to go")


def test_a_pod_that_a_queue_gates_holds_no_card_until_its_turn_and_nothing_once_it_is_evicted(space):
    """As Kueue does with Pods: gates first, in the end a node selector in their place, or deletion."""
    gates = [{"name": "kueue.x-k8s.io/admission"}, {"name": "kueue.x-k8s.io/topology"}]
    for name in ("queued", "evicted"):
        space.create(kinds.PODS, pod(SHARE, name=name, schedulingGates=gates))
    space.create(kinds.PODS, pod(SHARE, name="first"))
    settled(space, 3)
    (claim,) = space.allocated(1)
    assert claim["metadata"]["name"] == f"{space.name}-first-cuda"
    space.delete_pod("evicted")
    turn = {"spec": {"schedulingGates": None, "nodeSelector": {"kubernetes.io/hostname": "large"}}}
    space.client.patch(kinds.PODS, "queued", turn, space.name)
    held = {item["metadata"]["name"]: results(item) for item in space.allocated(2)}
    assert [each["pool"] for each in held[f"{space.name}-queued-cuda"]] == ["large"]
    settled(space, 2)


def test_each_retry_of_a_job_has_a_claim_and_a_failed_pod_holds_no_card(space):
    space.create(JOBS, job("flaky", SHARE, backoffLimit=3))
    (first,) = until(lambda: space.list(kinds.PODS), "the first try")
    space.allocated(1)
    space.finish(first["metadata"]["name"], "Failed")
    until(lambda: len(space.list(kinds.PODS)) == 2, "the second try")

    def one_card_is_held():
        held = [item for item in space.claims() if item.get("status", {}).get("allocation")]
        return len(held) == 1 and held[0]["metadata"]["ownerReferences"][0]["uid"] != first["metadata"]["uid"]

    until(one_card_is_held, "the card to pass from the first try to the second")


def test_a_stateful_sets_pod_that_is_made_anew_gets_a_new_claim(space):
    space.create(STATEFUL_SETS, workload(STATEFUL_SETS, "db", SHARE, replicas=1, serviceName="db"))
    settled(space, 1)
    before = owners(space)
    space.delete_pod("db-0")
    until(lambda: uids(space) and not uids(space) & before, "db-0 again")
    settled(space, 1)


def test_a_bare_pod_that_is_replaced_by_force_never_shares_a_claim_with_the_former(space):
    space.create(kinds.PODS, pod(SHARE))
    settled(space, 1)
    before = {item["metadata"]["uid"] for item in space.claims()}
    for _ in range(5):
        space.delete_pod("train")
        space.create(kinds.PODS, pod(SHARE))
    settled(space, 1)
    space.allocated(1)
    assert not before & {item["metadata"]["uid"] for item in space.claims()}


def test_a_pod_that_is_created_once_more_leaves_no_second_claim_and_no_template(space):
    """As by a client that has not seen the answer; by then the name of its claim is taken."""
    space.create(kinds.PODS, pod(SHARE))
    space.allocated(1)
    assert "already exists" in space.refusal(kinds.PODS, pod(SHARE))
    settled(space, 1)
    assert space.list(kinds.RESOURCE_CLAIM_TEMPLATES) == []


def test_a_dry_run_leaves_nothing(space):
    space.create(kinds.PODS, pod(SHARE), dry_run=True)
    space.create(kinds.PODS, pod(SHARE, name=""), dry_run=True)
    assert space.list(kinds.PODS) == []
    assert space.claims() == []
    assert space.list(kinds.RESOURCE_CLAIM_TEMPLATES) == []


def test_a_pod_that_is_refused_after_its_conversion_leaves_nothing(space):
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    space.create(QUOTAS, quota)
    until(lambda: space.list(QUOTAS)[0].get("status", {}).get("hard"), "the quota to be counted")
    assert "exceeded quota" in space.refusal(kinds.PODS, pod(SHARE))
    assert space.claims() == []


def test_a_pod_that_another_webhook_refuses_afterwards_leaves_nothing(space):
    """One that does not answer, and must: it is asked after ours, which changes Pods."""
    refusing = {
        "name": "refuses.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "timeoutSeconds": 1,
        "clientConfig": {"url": "https://localhost:1/validate"},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space.name}},
        "rules": [
            {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
        ],
    }
    name = f"refuses-{space.name}"
    space.client.create(kinds.VALIDATING_WEBHOOKS, {"metadata": {"name": name}, "webhooks": [refusing]})

    def refusal(body):
        try:
            space.try_pod(body)
        except errors.KubeError as refused:
            return str(refused)
        return ""

    try:
        until(lambda: "refuses.example.com" in refusal(pod(SHARE)), "the refusal")
        for body in (pod(SHARE), pod(SHARE, name="")):
            with pytest.raises(errors.KubeError, match=r"refuses\.example\.com"):
                space.try_pod(body, dry_run=False)
    finally:
        space.client.delete(kinds.VALIDATING_WEBHOOKS, name)
    assert space.list(kinds.PODS) == []
    assert space.claims() == []
    assert space.list(kinds.RESOURCE_CLAIM_TEMPLATES) == []


def test_a_claim_beyond_the_quota_is_an_event_on_the_pod_and_is_made_when_there_is_room(space):
    hard = {"hami-core-gpu.project-hami.io.deviceclass.resource.k8s.io/devices": "1"}
    space.create(QUOTAS, {"metadata": {"name": "gpus"}, "spec": {"hard": hard}})
    until(lambda: space.list(QUOTAS)[0].get("status", {}).get("hard"), "the quota to be counted")
    space.create(kinds.PODS, pod(SHARE, name="first"))
    until(lambda: len(space.claims()) == 1, "the first claim")
    space.create(kinds.PODS, pod(SHARE, name="second"))
    until(lambda: "ClaimRefused: " in space.events("second"), "the refusal")
    assert "exceeded quota: gpus" in space.events("second")
    space.delete_pod("first")
    until(lambda: owners(space) == uids(space), "the second Pod's claim")


def test_a_template_beyond_the_quota_is_an_event_on_the_pod_too(space):
    hard = {"hami-core-gpu.project-hami.io.deviceclass.resource.k8s.io/devices": "0"}
    space.create(QUOTAS, {"metadata": {"name": "gpus"}, "spec": {"hard": hard}})
    until(lambda: space.list(QUOTAS)[0].get("status", {}).get("hard"), "the quota to be counted")
    stored = space.create(kinds.PODS, pod(SHARE, name=""))
    name = stored["metadata"]["name"]
    until(lambda: "exceeded quota: gpus" in space.events(name), "the controller manager's event")


def test_a_namespace_goes_with_its_claims_and_templates(cluster):
    space = Space(cluster, "going")
    cluster.client.create(NAMESPACES, {"metadata": {"name": space.name}})
    space.create(kinds.PODS, pod(SHARE))
    space.create(kinds.PODS, pod(SHARE, name=""))
    settled(space, 2)
    cluster.client.delete(NAMESPACES, space.name)

    def gone():
        end_pods(space)
        try:
            cluster.client.get(NAMESPACES, space.name)
        except errors.NotFound:
            return True
        return False

    until(gone, "the namespace to go")


def test_somebody_elses_claim_of_a_pods_name_is_left_alone_and_not_used(space):
    theirs = {
        "metadata": {"name": f"{space.name}-train-cuda"},
        "spec": {"devices": {"requests": [{"name": "x", "exactly": {"deviceClassName": "other"}}]}},
    }
    space.create(kinds.RESOURCE_CLAIMS, theirs)
    stored = until(lambda: with_template(space), "a Pod with a template")
    assert "resourceClaimName" not in stored["spec"]["resourceClaims"][0]
    space.allocated(1)
    (untouched,) = [item for item in space.claims() if item["metadata"]["name"].endswith("-train-cuda")]
    assert "other" in asked(untouched)


def test_pods_made_at_once_whose_names_differ_by_a_dot_have_a_claim_each(space):
    for name in ("train-1", "train.1"):
        space.create(kinds.PODS, pod(SHARE, name=name))
    settled(space, 2)
    space.allocated(2)
    assert {item["metadata"]["name"] for item in space.claims()} == {
        f"{space.name}-{name}-cuda" for name in ("train-1", "train.1")
    }


def with_template(space):
    """The Pod, once the webhook has seen the claim that stands in its way."""
    seen = space.create(kinds.PODS, pod(SHARE), dry_run=True)["spec"]["resourceClaims"][0]
    return space.create(kinds.PODS, pod(SHARE)) if "resourceClaimTemplateName" in seen else None


OFTEN = """
import datetime
from hami_dra.admission import collector, controller
from hami_dra.cli.main import main
collector.UNUSED_FOR = datetime.timedelta(0)
controller.COLLECT_EVERY = datetime.timedelta(seconds=1)
main()
"""
"""`hami` that collects every second what nobody uses, instead of what nobody has used for an hour."""


def test_a_template_is_collected_once_no_pod_uses_it(plane, space, tmp_path):
    kept, ended = (space.create(kinds.PODS, pod(limits, name="")) for limits in (SHARE, {"gpumem": 16}))
    settled(space, 2)

    def templates():
        return {item["metadata"]["name"] for item in space.list(kinds.RESOURCE_CLAIM_TEMPLATES)}

    assert len(templates()) == 2
    with webhook_process.running(tmp_path, plane.kubeconfig, program=("-c", OFTEN)):
        space.delete_pod(ended["metadata"]["name"])
        needed = {kept["spec"]["resourceClaims"][0]["resourceClaimTemplateName"]}
        until(lambda: templates() == needed, "the other template to go")


def test_two_replicas_make_one_claim_for_each_pod(plane, cluster, space, tmp_path):
    with webhook_process.running(tmp_path, plane.kubeconfig):
        for at in range(20):
            space.create(kinds.PODS, pod({"gpumem": 16}, name=f"train-{at}"))
        settled(space, 20)
    for folder in (tmp_path, cluster.folder):
        assert "Traceback" not in (folder / "webhook.log").read_text()

"""The examples of docs/quota.md, applied as they stand there."""

import pytest
import yaml

from hami_dra.kube import kinds
from hami_dra.kube.kinds import Kind
from tests.cluster.versions import REPO
from tests.control_plane.conftest import NAMESPACES, Space, end_pods, pod, results
from tests.control_plane.test_validation import claim
from tests.support.waiting import until

GROUP = "admissionregistration.k8s.io"
KINDS = {
    "ResourceQuota": Kind("", "v1", "resourcequotas", "ResourceQuota"),
    "ConfigMap": Kind("", "v1", "configmaps", "ConfigMap"),
    "ValidatingAdmissionPolicy": Kind(
        GROUP, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False
    ),
    "ValidatingAdmissionPolicyBinding": Kind(
        GROUP, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", namespaced=False
    ),
}
SHARE = {"gpumem": 1024, "gpucores": 10}


@pytest.fixture(scope="module")
def team(cluster):
    """Namespace `team-a` with both examples in force."""
    cluster.client.create(NAMESPACES, {"metadata": {"name": "team-a"}})
    space, made = Space(cluster, "team-a"), []
    for name in ("quota-shares.yaml", "quota-amounts.yaml"):
        for item in yaml.safe_load_all((REPO / "docs/examples" / name).read_text()):
            kind = KINDS[item["kind"]]
            cluster.client.create(kind, item, "team-a" if kind.namespaced else None)
            made.append((kind, item["metadata"]["name"]))
    until(lambda: space.list(KINDS["ResourceQuota"])[0].get("status", {}).get("hard"), "the quota")
    # A policy is in force a moment after it is stored.
    until(lambda: refused(space, {"gpumem": 30000}), "the policies")
    yield space
    end_pods(space)
    for kind, name in reversed(made):
        cluster.client.delete(kind, name, "team-a" if kind.namespaced else None)
    cluster.client.delete(NAMESPACES, "team-a")


def refused(space, limits):
    try:
        space.create(kinds.PODS, pod(limits), dry_run=True)
    except Exception as refusal:
        return str(refusal)
    return ""


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"gpumem": 20481}, "A Pod of this namespace has at most 20480 MiB of GPU memory."),
        ({"gpu": 3, "gpumem": 10240}, "at most 20480 MiB of GPU memory"),
        ({"gpumem": 1024, "gpucores": 51}, "A Pod of this namespace has at most 50 percent of GPU compute."),
        ({"gpu": 1}, "write nvidia.com/gpumem"),
        ({"gpumem-percentage": 50}, "at most 20480 MiB of GPU memory"),
    ],
)
def test_a_pod_beyond_the_caps_is_refused_with_them(team, limits, words):
    assert words in refused(team, limits)


def test_a_pod_within_the_caps_gets_its_share(team):
    team.create(kinds.PODS, pod(SHARE, name="modest"))
    team.allocated(1)
    end_pods(team)
    until(lambda: team.claims() == [], "an empty namespace")


def test_two_containers_of_a_pod_are_added_up(team):
    both = pod({"gpumem": 10240})
    both["spec"]["containers"] *= 2
    both["spec"]["containers"][1] = both["spec"]["containers"][0] | {"name": "second"}
    assert team.create(kinds.PODS, both, dry_run=True)
    both["spec"]["containers"].append(both["spec"]["containers"][0] | {"name": "third"})
    assert "at most 20480 MiB" in team.refusal(kinds.PODS, both)


@pytest.mark.parametrize(
    ("amounts", "words"),
    [
        ({"memory": "11Gi"}, "A share of this namespace has at most 10Gi of memory."),
        ({"memory": "1Gi", "cores": "26"}, "A share of this namespace has at most 25 percent of a card."),
        ({"cores": "10"}, "name capacity.requests.memory"),
    ],
)
def test_a_native_claim_or_template_beyond_the_caps_is_refused(team, amounts, words):
    body = claim(amounts)
    assert words in team.refusal(kinds.RESOURCE_CLAIMS, body)
    template = {"metadata": {"name": "half"}, "spec": {"spec": body["spec"]}}
    assert words in team.refusal(kinds.RESOURCE_CLAIM_TEMPLATES, template)


def test_native_claims_within_the_caps_and_claims_of_others_are_stored(team):
    assert team.create(kinds.RESOURCE_CLAIMS, claim({"memory": "10Gi", "cores": "25"}), dry_run=True)
    foreign = claim({"memory": "100Gi"})
    foreign["spec"]["devices"]["requests"][0]["exactly"]["deviceClassName"] = "gpu.example.com"
    assert team.create(kinds.RESOURCE_CLAIMS, foreign, dry_run=True)


def test_a_share_of_a_pod_beyond_the_caps_of_shares_is_an_event_on_the_pod(team):
    team.create(kinds.PODS, pod({"gpumem": 15000}, name="large"))
    words = "A share of this namespace has at most 10Gi of memory."
    until(lambda: words in team.events("large"), "the refusal on the Pod")
    end_pods(team)


def test_the_fifth_share_waits_until_one_is_given_back(team):
    for at in range(5):
        team.create(kinds.PODS, pod(SHARE, name=f"train-{at}"))
    team.allocated(4)
    until(lambda: "exceeded quota: gpu-shares" in "".join(team.events(f"train-{at}") for at in range(5)))
    allocated = {item["metadata"]["ownerReferences"][0]["name"] for item in team.claims()}
    waiting = next(f"train-{at}" for at in range(5) if f"train-{at}" not in allocated)
    team.delete_pod(allocated.pop())
    until(
        lambda: any(item["metadata"]["ownerReferences"][0]["name"] == waiting for item in team.allocated(4)),
        "the fifth share",
    )
    end_pods(team)


def test_other_namespaces_are_not_touched(team, space):
    assert refused(space, {"gpumem": 30000}) == ""
    assert space.create(kinds.RESOURCE_CLAIMS, claim({"memory": "20Gi"}), dry_run=True)


RANGES = Kind("", "v1", "limitranges", "LimitRange")


def limited(space, **bounds):
    """A LimitRange for containers, once the API server goes by it."""
    space.create(
        RANGES, {"metadata": {"name": "range"}, "spec": {"limits": [{"type": "Container", **bounds}]}}
    )
    until(
        lambda: "limit-ranger" in str(space.try_pod(pod(name="x"))["metadata"].get("annotations")),
        "the range",
    )


@pytest.mark.parametrize(
    ("default", "cores"),
    [
        ({"nvidia.com/gpumem": "512"}, "0"),
        ({"nvidia.com/gpu": "2"}, "0"),
        ({"nvidia.com/gpucores": "10"}, "10"),
    ],
    ids=["asked for already", "a count", "more"],
)
def test_what_a_limit_range_fills_in_belongs_to_the_one_share_of_a_container(space, default, cores):
    limited(space, default=default)
    made = space.create(kinds.PODS, pod({"gpu": 1, "gpumem": 1024}))
    assert made["spec"]["containers"][0]["resources"] == {"claims": [{"name": "cuda"}]}
    (share,) = space.allocated(1)
    (result,) = results(share)
    assert result["consumedCapacity"] == {"cores": cores, "memory": "1Gi"}


def test_a_limit_range_fills_nothing_into_a_copy_of_a_converted_pod_that_the_original_asked_for(space):
    stored = space.create(kinds.PODS, pod({"gpumem": 1024}))
    limited(space, default={"nvidia.com/gpumem": "512"})
    copied = {
        "metadata": {"name": "copy", "annotations": stored["metadata"]["annotations"]},
        "spec": {key: stored["spec"][key] for key in ("containers", "resourceClaims")},
    }
    assert space.create(kinds.PODS, copied)["metadata"]["annotations"]["hami.io/gpumem"] == "1024"

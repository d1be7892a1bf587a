"""Two claims of one family in one container: the container is told of the devices of both."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import pytest

from hami_dra.kube.kinds import EVENTS, PODS, RESOURCE_CLAIMS, Kind
from hami_dra.node.plugin import Config
from hami_dra.node.process import Process
from hami_dra.node.services import KUBELETS_DEADLINE_S, MARGIN_S
from tests.contract.conftest import Add, KubeletOf, StartAll, specification
from tests.contract.test_families import allocated
from tests.support import trees
from tests.support.cards import claim
from tests.support.fake_kube import FakeKube
from tests.support.kubelet import Kubelet
from tests.support.waiting import until

NPU = "ascend.project-hami.io"
NEURON = "neuron.project-hami.io"
HYGON = "hygon.project-hami.io"


@pytest.fixture
def npus(start_all: StartAll, kubelet_of: KubeletOf) -> Kubelet:
    start_all(trees.backend("ascend"))
    return kubelet_of(NPU)


@pytest.fixture
def use(kube: FakeKube) -> Any:
    """Store a Pod; each container with the claims that it names, or with `claim/request`. The claims are then
    reserved for it, and its own: made for it but for those that are STANDALONE."""

    def entry(used: str) -> dict[str, str]:
        name, _, request = used.partition("/")
        return {"name": f"of-{name}"} | ({"request": request} if request else {})

    def make(pod: str, standalone: Sequence[str] = (), **containers: list[str]) -> None:
        names = sorted({used.partition("/")[0] for claims in containers.values() for used in claims})
        # One by its name, the others as from a template.
        listed = [{"name": f"of-{name}", "resourceClaimTemplateName": "t"} for name in names[1:]]
        made = [{"name": f"of-{name}", "resourceClaimName": name} for name in names]
        spec = {
            "containers": [
                {"name": each, "resources": {"claims": list(map(entry, claims))}}
                for each, claims in containers.items()
            ],
            "resourceClaims": [made[0], *listed],
        }
        body = {"metadata": {"name": pod}, "spec": spec, "status": {"resourceClaimStatuses": made[1:]}}
        uid = kube.create(PODS, body, "default")["metadata"]["uid"]
        for name in names:
            status = kube.get(RESOURCE_CLAIMS, name, "default")["status"]
            users = [*status.get("reservedFor", []), {"resource": "pods", "name": pod, "uid": uid}]
            owner = {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid, "controller": True}
            owners = {} if name in standalone else {"metadata": {"ownerReferences": [owner]}}
            kube.patch(RESOURCE_CLAIMS, name, {"status": {"reservedFor": users}} | owners, "default")

    return make


def variables(config: Config, driver: str, body: dict[str, Any]) -> dict[str, str]:
    edits = specification(config, driver, body)["containerEdits"]
    return dict(entry.split("=", 1) for entry in edits["env"])


def two_npus(add: Add) -> list[dict[str, Any]]:
    return [
        add(claim(name, allocated(NPU, f"ascend-{at}", memory="64Gi"))) for name, at in (("a", 3), ("b", 1))
    ]


def test_a_container_with_two_claims_is_told_of_the_devices_of_both(
    npus: Kubelet, config: Config, add: Add, use: Any
) -> None:
    bodies = two_npus(add)
    use("p", main=["a", "b"])
    assert [answer.error for answer in npus.prepare(*bodies).values()] == ["", ""]
    for body in bodies:
        assert variables(config, NPU, body)["ASCEND_VISIBLE_DEVICES"] == "1,3"
        (device,) = specification(config, NPU, body)["devices"]
        assert device["containerEdits"]["deviceNodes"], "each claim brings its own device nodes"


def test_all_that_is_asked_for_a_claim_is_asked_within_kubelets_call(
    npus: Kubelet, add: Add, use: Any, kube: FakeKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience: list[float | None] = []

    def get(kind: Kind, *arguments: Any, patience_s: float | None = None) -> Any:
        if kind in (PODS, RESOURCE_CLAIMS):
            patience.append(patience_s)
        return found(kind, *arguments)

    found = kube.get
    first, second = two_npus(add)
    use("p", main=["a", "b"])
    monkeypatch.setattr(kube, "get", get)
    npus.prepare(first, second)
    assert len(patience) >= 6, "two claims: each, what is beside it, and their Pod"
    assert all(0 < (one or 0) <= KUBELETS_DEADLINE_S - MARGIN_S for one in patience)


def test_positions_are_counted_through_both(
    start_all: StartAll, kubelet_of: KubeletOf, config: Config, add: Add, use: Any
) -> None:
    start_all(trees.backend("neuron"))
    neurons = kubelet_of(NEURON)
    bodies = [add(claim(f"c{at}", allocated(NEURON, f"neuron-{at}", cores="2"))) for at in (5, 6)]
    use("p", main=["c5", "c6"])
    neurons.prepare(*bodies)
    inside = [
        specification(config, NEURON, body)["devices"][0]["containerEdits"]["deviceNodes"][0]["path"]
        for body in bodies
    ]
    assert inside == ["/dev/neuron0", "/dev/neuron1"]
    assert {variables(config, NEURON, body)["NEURON_RT_VISIBLE_CORES"] for body in bodies} == {"0-1,2-3"}


@pytest.mark.parametrize("checkpoint", ["as it was", "{"])
def test_they_stay_together_over_a_reboot(
    checkpoint: str, start_all: StartAll, kubelet_of: KubeletOf, config: Config, add: Add, use: Any
) -> None:
    first: Process = start_all(trees.backend("ascend"))
    npus = kubelet_of(NPU)
    bodies = two_npus(add)
    use("p", main=["a", "b"])
    npus.prepare(*bodies)
    npus.close()
    first.stop()
    shutil.rmtree(config.cdi)
    if checkpoint == "{":
        (config.state / "families" / NPU / "checkpoint.json").write_text(checkpoint)
    start_all(trees.backend("ascend"))
    for body in bodies:
        assert variables(config, NPU, body)["ASCEND_VISIBLE_DEVICES"] == "1,3"


def test_containers_with_a_claim_each_are_told_of_their_own(
    npus: Kubelet, config: Config, add: Add, use: Any
) -> None:
    bodies = two_npus(add)
    use("p", one=["a"], two=["b"])
    npus.prepare(*bodies)
    told = [variables(config, NPU, body)["ASCEND_VISIBLE_DEVICES"] for body in bodies]
    assert told == ["3", "1"]


def test_what_cannot_be_told_at_once_is_refused_and_the_pod_hears_why(
    npus: Kubelet, config: Config, add: Add, use: Any, kube: FakeKube
) -> None:
    first, second = two_npus(add)
    use("p", both=["a", "b"], one=["a"])
    answers = npus.prepare(first, second)
    assert answers[first["metadata"]["uid"]].error == ""
    said = answers[second["metadata"]["uid"]].error
    assert "container one of Pod p uses a alone" in said
    assert "in one claim, with a request for each" in said
    until(lambda: kube.list(EVENTS)[0])
    (event,) = kube.list(EVENTS)[0]
    assert (event["reason"], event["involvedObject"]["name"]) == ("ClaimsMixed", "p")
    assert variables(config, NPU, first)["ASCEND_VISIBLE_DEVICES"] == "3", "the other's stay what they were"


def test_a_claim_that_another_pod_uses_alone_stays_as_that_pod_was_told(
    npus: Kubelet, config: Config, add: Add, use: Any
) -> None:
    first, second = two_npus(add)
    use("early", main=["a"])
    npus.prepare(first)
    use("late", main=["a", "b"])
    said = npus.prepare(second)[second["metadata"]["uid"]].error
    assert "container main of Pod early uses a alone" in said
    assert variables(config, NPU, first)["ASCEND_VISIBLE_DEVICES"] == "3"


@pytest.mark.parametrize(("first", "second"), [("a", "b"), ("b", "a")])
def test_claims_that_a_later_pod_may_use_alone_are_not_told_together(
    first: str, second: str, npus: Kubelet, config: Config, add: Add, use: Any
) -> None:
    """Kubelet asks once for a claim: that Pod would be told of the other's device too."""
    bodies = {body["metadata"]["name"]: body for body in two_npus(add)}
    use("p", main=["a", "b"], standalone=["a"])
    answers = npus.prepare(bodies[first], bodies[second])
    assert answers[bodies[first]["metadata"]["uid"]].error == ""
    said = answers[bodies[second]["metadata"]["uid"]].error
    assert "a belongs to no Pod, so that a later one may use it alone" in said
    assert "in one claim, with a request for each" in said
    own = {"a": "3", "b": "1"}[first]
    assert variables(config, NPU, bodies[first])["ASCEND_VISIBLE_DEVICES"] == own


def in_two_requests(add: Add, *shares: dict[str, Any]) -> dict[str, Any]:
    return add(claim("both", *(each | {"request": name} for name, each in zip("xy", shares, strict=True))))


def test_a_container_that_uses_a_part_of_a_claim_is_not_told_of_devices_that_it_does_not_get(
    npus: Kubelet, add: Add, use: Any, config: Config
) -> None:
    """The vendor's runtime goes by the variable, and would give it the other container's."""
    body = in_two_requests(add, *(allocated(NPU, f"ascend-{at}", memory="64Gi") for at in (3, 1)))
    use("p", one=["both/x"], two=["both/y"])
    said = npus.prepare(body)[body["metadata"]["uid"]].error
    assert "container one of Pod p uses x of it alone" in said
    assert "Give each container a claim of its own" in said
    assert not list(config.cdi.glob("*"))


def test_a_container_that_uses_a_claim_request_by_request_is_told_of_all(
    npus: Kubelet, add: Add, use: Any, config: Config
) -> None:
    body = in_two_requests(add, *(allocated(NPU, f"ascend-{at}", memory="64Gi") for at in (3, 1)))
    use("p", one=["both/x", "both/y"], two=["both"])
    assert not npus.prepare(body)[body["metadata"]["uid"]].error
    assert variables(config, NPU, body)["ASCEND_VISIBLE_DEVICES"] == "1,3"


def test_containers_that_ask_by_extended_resources_are_known_by_what_the_scheduler_made_of_it(
    npus: Kubelet, add: Add, kube: FakeKube
) -> None:
    body = in_two_requests(add, *(allocated(NPU, f"ascend-{at}", memory="64Gi") for at in (3, 1)))
    mappings = [
        {"containerName": name, "resourceName": "example.com/npu", "requestName": request}
        for name, request in (("one", "x"), ("two", "y"))
    ]
    status = {"extendedResourceClaimStatus": {"resourceClaimName": "both", "requestMappings": mappings}}
    spec = {"containers": [{"name": name, "resources": {}} for name in ("one", "two")]}
    pod = kube.create(PODS, {"metadata": {"name": "p"}, "spec": spec, "status": status}, "default")
    user = {"resource": "pods", "name": "p", "uid": pod["metadata"]["uid"]}
    kube.patch(RESOURCE_CLAIMS, "both", {"status": {"reservedFor": [user]}}, "default")
    said = npus.prepare(body)[body["metadata"]["uid"]].error
    assert "container one of Pod p uses x of it alone" in said


def test_a_family_without_variables_has_nothing_to_mix(
    start_all: StartAll, kubelet_of: KubeletOf, add: Add, use: Any
) -> None:
    start_all(trees.backend("hygon"))
    dcus = kubelet_of(HYGON)
    bodies = [
        add(claim(name, allocated(HYGON, f"dcu-{at}", memory="1Gi", cores="10")))
        for name, at in (("a", 128), ("b", 129))
    ]
    use("p", both=["a", "b"], one=["a"])
    assert [answer.error for answer in dcus.prepare(*bodies).values()] == ["", ""]
    body = in_two_requests(
        add, *(allocated(HYGON, f"dcu-{at}", memory="1Gi", cores="10") for at in (128, 129))
    )
    use("q", one=["both/x"], two=["both/y"])
    assert not dcus.prepare(body)[body["metadata"]["uid"]].error

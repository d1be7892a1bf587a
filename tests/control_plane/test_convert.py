"""`hami convert --live` and the real API server with its webhook make the same of the same manifests."""

import json

import pytest
import yaml

from hami_dra.kube import kinds
from tests.control_plane.conftest import hami, pod
from tests.control_plane.test_ownership import JOBS, STATEFUL_SETS, job, workload
from tests.control_plane.test_table import ROWS, outcome, source_of
from tests.support.waiting import until

# What this cluster is not: with other settings, with HAMi's traditional mode, with a name in use.
HERE = {name: row for name, row in ROWS.items() if not {"extended", "taken", "traditional"} & row.keys()}

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "b"}}


def contribution(found):
    """What admission has written into a Pod, and which resources it has left there."""
    spec, metadata = found["spec"], found["metadata"]
    marks = (metadata.get("labels") or {}) | (metadata.get("annotations") or {})
    containers = {
        container["name"]: (
            container.get("resources", {}).get("claims"),
            sorted(container.get("resources", {}).get("limits") or {}),
        )
        for container in spec.get("initContainers", []) + spec["containers"]
    }
    return (
        containers,
        spec.get("resourceClaims"),
        spec.get("schedulerName", "default-scheduler"),
        {key: text for key, text in marks.items() if key.startswith("hami.io/")},
    )


def convert(space, text):
    """What is printed, object by object, and what is said."""
    options = ("-n", space.name, "-o", "json", "--live", "-f", "-")
    done = hami(space.cluster.plane, "convert", *options, stdin=text)
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)
    return found["items"], done.stderr


@pytest.fixture(scope="module")
def answers(dry):
    """Row -> (the stored Pod, what was said when it was refused)."""
    found = {name: outcome(dry, row) for name, row in HERE.items()}
    # A quantity that is none is refused before any webhook is asked.
    return {name: answer for name, answer in found.items() if "pods.hami.io" in answer[1] or answer[0]}


@pytest.mark.parametrize("form", ["documents", "list"])
def test_the_whole_table_is_converted_as_the_api_server_stores_it(dry, answers, form):
    sources = [source_of(HERE[name]) for name in answers]
    listed = {"apiVersion": "v1", "kind": "List", "items": sources}
    text = yaml.safe_dump_all(sources) if form == "documents" else json.dumps(listed)
    items, said = convert(dry, text)
    stored = {name: answer for name, (answer, _) in answers.items() if answer}
    assert len(stored) > 100
    printed = [item for item in items if item["kind"] == "Pod"]
    assert len(printed) == len(stored)
    for (name, found), shown in zip(stored.items(), printed, strict=True):
        assert contribution(shown) == contribution(found), name
    refusals = [told.partition("denied the request: ")[2] for answer, told in answers.values() if not answer]
    assert len(refusals) > 20
    assert [
        refusal for refusal in refusals if not any(same(refusal, line) for line in said.splitlines())
    ] == []


def same(refusal, line):
    """Whether both name one field and one remedy; the API server writes a quantity of 0.5 as 500m."""
    return refusal.partition(": ")[0] in line and refusal.rpartition(". ")[2] in line


def test_workloads_are_shown_with_the_pods_and_templates_that_their_controllers_come_to(space):
    share, cards = {"gpumem": 512}, {"gpu": 2, "gpumem": 256}
    manifests = [
        (kinds.DEPLOYMENTS, workload(kinds.DEPLOYMENTS, "web", share, replicas=1)),
        (
            STATEFUL_SETS,
            workload(STATEFUL_SETS, "db", {"gpumem-percentage": 1}, replicas=1, serviceName="db"),
        ),
        (JOBS, job("train", cards)),
        (JOBS, job("indexed", share, completions=1, completionMode="Indexed")),
    ]
    lone = pod({"gpumem": 128, "gpucores": 5}, name="lone")
    listed = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [*(body for _, body in manifests), CONFIG_MAP, lone],
    }
    items, _ = convert(space, json.dumps(listed))
    for kind, body in manifests:
        space.create(kind, body)
    space.create(kinds.PODS, lone)
    pods = until(
        lambda: found if len(found := space.list(kinds.PODS)) == len(manifests) + 1 else None, "every Pod"
    )
    shown = {
        item["metadata"].get("generateName", "lone-").removesuffix("-"): contribution(item)
        for item in items
        if item["kind"] == "Pod"
    }
    there = {
        next(name for name in shown if item["metadata"]["name"].startswith(name)): contribution(item)
        for item in pods
    }
    assert there == shown
    templates = until(
        lambda: found if len(found := space.list(kinds.RESOURCE_CLAIM_TEMPLATES)) == 3 else None, "templates"
    )
    for made in [
        *templates,
        *(item for item in space.claims() if item["metadata"]["name"].endswith("lone-cuda")),
    ]:
        (printed,) = [item for item in items if item["metadata"].get("name") == made["metadata"]["name"]]
        assert amounts(printed) == amounts(made)
    assert CONFIG_MAP in items


def amounts(item):
    """A claim's requests; the API server writes `10737418240` as `10Gi`, and fills in defaults."""
    devices = item["spec"].get("spec", item["spec"])["devices"]
    return [
        (
            request["name"],
            [one["selectors"] for one in request.get("firstAvailable", [request.get("exactly")])],
        )
        for request in devices["requests"]
    ]


def test_what_is_printed_can_be_created_as_it_is(space):
    """Claims first, as a tool that sorts by kind creates them: nobody owns them, and they stay."""
    (first, claim), _ = convert(space, json.dumps(pod({"gpumem": 512})))
    (second, _), _ = convert(space, json.dumps(pod({"gpumem": 512}, name="second")))
    made = space.create(kinds.RESOURCE_CLAIMS, claim)
    space.create(kinds.PODS, first)
    # Pods are worked on in turn: when the second's claim is made, the controller has looked at the first.
    space.create(kinds.PODS, second)
    kept = {item["metadata"]["uid"]: item["metadata"] for item in space.allocated(2)}
    assert "deletionTimestamp" not in kept[made["metadata"]["uid"]]

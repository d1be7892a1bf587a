"""`hami convert --live` prints what the webhook of that cluster answers, row by row of admission's table."""

import json

import pytest
from click.testing import CliRunner

from hami_dra.admission.server import AdmissionServer
from hami_dra.cli.main import cli
from hami_dra.kube import Client, kinds
from tests.support.fake_kube import FakeKube
from tests.unit.admission import cases
from tests.unit.admission.pods import gpu, patched, pod
from tests.unit.ops import healthy

ROWS = dict(cases.load())


def cluster(row):
    """The cluster that a row of the table is about: its cards, names in use, and how admission is set."""
    kube, around = FakeKube(), cases.surroundings(row)
    for card in around.cards:
        capacity = {"memory": {"value": str(card.memory)}, "cores": {"value": str(card.cores)}}
        device = {"name": card.name, "attributes": card.attributes, "capacity": capacity}
        spec = {"driver": card.driver, "pool": {"name": card.pool}, "devices": [device]}
        kube.create(kinds.RESOURCE_SLICES, {"metadata": {"name": card.name}, "spec": spec})
    for name in row.get("taken", []):
        kube.create(kinds.RESOURCE_CLAIMS, {"metadata": {"name": name}, "spec": {}}, "ml")
    if around.traditional:
        name = around.traditional.partition("/")[2]
        hooks = [{"name": "vgpu.hami.io", "clientConfig": {}}]
        kube.create(kinds.MUTATING_WEBHOOKS, {"metadata": {"name": name}, "webhooks": hooks})
    kube.create(kinds.MUTATING_WEBHOOKS, healthy.webhook(b""))
    deployment = healthy.workload("webhook", "hami-hami-dra-webhook", 2)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    extended = str(row.get("extended", False)).lower()
    container["env"].append({"name": "HAMI_EXTENDED_RESOURCE", "value": extended})
    kube.create(kinds.DEPLOYMENTS, deployment, healthy.NAMESPACE)
    return kube


@pytest.fixture
def convert(monkeypatch):
    """`convert(kube, manifest)`: (what is printed, object by object; what is said; exit code)."""
    return lambda *arguments, **more: _convert(monkeypatch, *arguments, **more)


def _convert(monkeypatch, kube, manifest, namespace="ml"):
    monkeypatch.setattr(Client, "from_environment", lambda *_: kube)
    options = ["-n", namespace, "-o", "json", "--live"]
    done = CliRunner().invoke(cli, ["convert", "-f", "-", *options], input=json.dumps(manifest))
    printed = json.loads(done.stdout) if done.stdout.strip() else {"kind": "List", "items": []}
    items = printed["items"] if printed["kind"] == "List" else [printed]
    return items, done.stderr or str(done.exception or ""), done.exit_code


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_the_pod_and_its_claims_are_those_of_the_webhooks_answer(row, convert):
    source = json.loads(json.dumps(cases.pod(row)))
    server = AdmissionServer(cases.settings(row), lambda: cases.surroundings(row))
    answer = server.mutate({"uid": "1", "namespace": "ml", "object": source})
    items, said, code = convert(cluster(row), source)
    if not answer["allowed"]:
        assert items == []
        assert answer["status"]["message"] in said
        assert code == 1
        return
    assert code == 0
    for warning in answer.get("warnings", []):
        assert warning in said
    stored, *made = items
    if "patch" not in answer:
        assert (stored, made) == (source, [])
        return
    assert stored == patched(source, answer)
    wanted = json.loads(stored["metadata"]["annotations"]["hami.io/claims"])
    specs = {
        (item["kind"], item["metadata"]["name"]): item["spec"].get("spec", item["spec"]) for item in made
    }
    assert specs == {
        (kind, name): spec
        for group, kind in (("claims", "ResourceClaim"), ("templates", "ResourceClaimTemplate"))
        for name, spec in wanted[group].items()
    }


def test_namespaces_that_the_cluster_leaves_alone_are_left_alone_and_no_others(convert):
    kube = cluster({})
    registration = kube.get(kinds.MUTATING_WEBHOOKS, "hami-hami-dra-webhook")
    left_out = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["build"]}
    registration["webhooks"][0]["namespaceSelector"] = {"matchExpressions": [left_out]}
    kube.replace(kinds.MUTATING_WEBHOOKS, registration)
    source = pod(gpu(gpumem=1024))
    del source["metadata"]["namespace"]
    (alone,), _, _ = convert(kube, source, namespace="build")
    assert alone == source
    converted, _, _ = convert(kube, source, namespace="kube-system")
    assert [item["kind"] for item in converted] == ["Pod", "ResourceClaim"]


def test_a_cluster_without_our_webhook_is_said_to_be_one(convert):
    kube = cluster({})
    kube.delete(kinds.MUTATING_WEBHOOKS, "hami-hami-dra-webhook")
    items, said, code = convert(kube, pod(gpu(gpumem=1024)))
    assert "no webhook of ours is registered there" in said
    assert [item["kind"] for item in items] == ["Pod", "ResourceClaim"]
    assert code == 0

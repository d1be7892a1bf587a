"""A bundle holds no secret that was planted, tells what it could not collect, and always gets written."""

import base64
import json
import os
import tarfile

import pytest

from hami_dra.kube import kinds
from hami_dra.model import errors
from hami_dra.ops import bundle, redact
from hami_dra.ops.node_facts import Places
from tests.unit.ops import healthy

PLANTED = [f"Pl4nted-{number}-hunter2" for number in range(40)]
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJwbGFudGVkIn0.c2lnbmF0dXJl-planted"
KEY = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIPlanted\n-----END EC PRIVATE KEY-----"
LOG_LINES = (
    "password={0}",
    "PASSWORD: '{0}'",
    '{{"db_password": "{0}", "n": 1}}',
    "Authorization: Bearer {0}",
    "authorization: Basic {0}",
    "curl --token {0} --x",
    "AWS_SECRET_ACCESS_KEY={0}",
    "api_key={0}&page=2",
    "connecting to postgres://ann:{0}@db:5432/x",
    'client_secret = "{0}"',
    "X-Api-Key: {0}",
    "bearer {0}",
)


@pytest.fixture
def kube():
    """A cluster with a secret in every place where people leave them."""
    made, secrets = healthy.cluster(), iter(PLANTED)
    pod = healthy.user_pod("careless")
    pod["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": next(secrets),
        "x": next(secrets),
    }
    pod["spec"]["containers"] = [
        {
            "name": "c",
            "image": "x",
            "command": ["run", next(secrets)],
            "args": [f"--password={next(secrets)}", "--token", next(secrets)],
            "env": [{"name": "PLAIN", "value": next(secrets)}],
            "lifecycle": {"preStop": {"exec": {"command": [next(secrets)]}}},
        }
    ]
    pod["status"]["message"] = f"token={next(secrets)}"
    made.create(kinds.PODS, pod, "default")
    plain = healthy.user_pod("no-claim")
    plain["spec"] = {"containers": [{"name": "c", "args": [next(secrets)]}]}
    made.create(kinds.PODS, plain, "default")
    value = base64.b64encode(next(secrets).encode()).decode()
    made.create(kinds.SECRETS, {"metadata": {"name": "mine"}, "data": {"k": value}}, "default")
    claim = healthy.claim("foreign", "gone")
    claim["spec"]["devices"]["config"] = [
        {"opaque": {"driver": "other.example", "parameters": {"key": next(secrets)}}}
    ]
    claim["metadata"]["annotations"] = {"note": next(secrets)}
    made.create(kinds.RESOURCE_CLAIMS, claim, "default")
    daemon_set = made.get(kinds.DAEMON_SETS, "hami-dra-driver-kubelet-plugin", healthy.NAMESPACE)
    env = [
        {"name": "HTTPS_PROXY", "value": f"http://u:{next(secrets)}@proxy"},
        {"name": "HAMI_LOG_LEVEL", "value": "info"},
    ]
    daemon_set["spec"]["template"]["spec"]["containers"][0]["env"] = env
    made.replace(kinds.DAEMON_SETS, daemon_set, healthy.NAMESPACE)
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "careless"},
        "message": f"failed: password={next(secrets)}",
        "reason": "Failed",
    }
    made.create(kinds.EVENTS, event, "default")
    log = "\n".join(
        [*(line.format(next(secrets)) for line in LOG_LINES), TOKEN, KEY, "prepared claim=default/x uid=1"]
    )
    for node in healthy.NODES:
        path = (
            f"/api/v1/namespaces/{healthy.NAMESPACE}/pods/driver-{node}/log?container=plugin&tailLines=5000"
        )
        made.texts[path] = log
    return made


def collect(kube, folder, why_not=""):
    path = folder / "hami.tar.gz"
    steps = bundle.steps(kube, why_not, Places(folder / "state"))
    told = []
    made = bundle.write(path, steps, lambda *step: told.append(step))
    assert [number for _, number, _ in told] == list(range(1, len(steps) + 1))
    with tarfile.open(path) as archive:
        files = {
            entry.name.partition("/")[2]: archive.extractfile(entry).read().decode() for entry in archive
        }
    return made, files


def test_no_planted_secret_is_in_it(kube, tmp_path):
    _, files = collect(kube, tmp_path)
    everything = "\n".join(files.values())
    planted = [*PLANTED, *(base64.b64encode(each.encode()).decode() for each in PLANTED), "cGxhbnRlZA=="]
    assert [secret for secret in planted if secret in everything] == []
    assert "planted" not in everything
    assert "BEGIN EC" not in everything
    assert "mine" not in files["contents.txt"]


def test_what_helps_is_in_it(kube, tmp_path):
    made, files = collect(kube, tmp_path)
    assert made.problems == []
    assert "prepared claim=default/x uid=1" in files["logs/driver-gpu-a.plugin.log"]
    careless = next(
        pod
        for pod in json.loads(files["objects/pods-with-claims.json"])
        if pod["metadata"]["name"] == "careless"
    )
    assert careless["spec"]["containers"] == [{"name": "c", "image": "x", "resources": None}]
    assert careless["spec"]["resourceClaims"]
    plugin = files["objects/our-daemonsets.json"]
    assert '"value": "info"' in plugin
    assert "HTTPS_PROXY" in plugin
    findings = {each["id"]: each for each in json.loads(files["doctor.json"])}
    assert findings["leaked-claims"]["severity"] == "warning"
    (plugin,) = json.loads(files["nodes.json"])["gpu-a"]["drivers"].values()
    assert plugin["answering"] == ["service", "registration"]
    assert json.loads(files["objects/resourceclaims.json"])


def test_a_part_that_breaks_costs_only_itself(kube, tmp_path):
    listing = kube.list

    def broken(kind, *arguments, **more):
        if kind is kinds.RESOURCE_CLAIMS:
            raise errors.Denied("forbidden, password=Pl4nted-0-hunter2")
        return listing(kind, *arguments, **more)

    kube.list = broken
    made, files = collect(kube, tmp_path)
    assert made.problems == ["resourceclaims: forbidden, password=(redacted)"]
    assert "resourceclaims" in files["errors.txt"]
    assert "objects/nodes.json" in files


def test_with_no_cluster_at_all_there_is_still_a_bundle_with_the_node_in_it(tmp_path, monkeypatch):
    monkeypatch.delenv("HAMI_NODE_NAME", raising=False)
    (tmp_path / "state/shares/s").mkdir(parents=True)
    (tmp_path / "state/shares/s/limits").write_text("version=1\n")
    made, files = collect(None, tmp_path, "connection refused")
    assert "connection refused" in files["versions.json"]
    assert json.loads(files["this-node/facts.json"])["node"] == os.uname().nodename
    assert files["this-node/shares/s/limits"] == "version=1\n"
    assert "no registration" not in made.problems
    assert (tmp_path / "hami.tar.gz").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "line",
    [
        "prepared namespace=default claim=c uid=1 shares={'a': 'hami-gpu-0'}",
        "registered with kubelet",
        '{"event": "tokens per second", "value": 3}',
        "claim default/password-reset is waiting",
        "GET https://10.0.0.1:6443/api/v1/pods 200",
    ],
)
def test_an_honest_log_line_stays_as_it_is(line):
    assert redact.text(line) == line

"""Releases of the rollout, by real Helm on a real API server.

The charts of GPU Operator and cert-manager cannot be had without internet: a stand-in of each has a ConfigMap
that records the values which our role gives it, and a Secret. There are no nodes, so nothing of them runs.
"""

import base64
import contextlib
import functools
import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from tests.cluster.demo import environment
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
NAMESPACES = {"gpu-operator": "gpu-operator", "cert-manager": "cert-manager", "hami-system": "hami"}
STUCK = """
apiVersion: v1
kind: Pod
metadata: {name: stuck}
spec: {nodeSelector: {no: where}, containers: [{name: a, image: a}]}
"""
PLANTED = "planted-secret-4711"

TEMPLATES = {
    "recorded.yaml": """
apiVersion: v1
kind: ConfigMap
metadata: {name: recorded}
data: {values: {{ omit .Values "password" | toJson | quote }}}
""",
    "secret.yaml": """
{{- with .Values.password }}
apiVersion: v1
kind: Secret
metadata: {name: recorded}
stringData: {password: {{ . | quote }}}
{{- end }}
""",
    # Nobody runs it here: as if the hook's Pod refused.
    "hook.yaml": """
{{- if .Values.guarded }}
apiVersion: batch/v1
kind: Job
metadata: {name: guard, annotations: {helm.sh/hook: pre-delete}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: guard, image: none}]}}}
{{- end }}
""",
}


class Site:
    """A controller with the stand-in charts and a kubeconfig."""

    def __init__(self, folder, plane):
        self.folder = folder
        self.environment = environment() | {
            "KUBECONFIG": str(plane.kubeconfig),
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_NOCOLOR": "1",
        }

    def chart(self, name):
        place = self.folder / name
        (place / "templates").mkdir(parents=True, exist_ok=True)
        metadata = {"apiVersion": "v2", "name": name, "version": "26.3.1", "description": "Stand-in"}
        (place / "Chart.yaml").write_text(yaml.safe_dump(metadata))
        for template, text in TEMPLATES.items():
            (place / "templates" / template).write_text(text)
        return str(place)

    def run(self, role, variables, *arguments, fails=False):
        """Run one role; everything that it printed."""
        book = [{"hosts": "localhost", "gather_facts": False, "roles": [{"role": role}], "vars": variables}]
        path = self.folder / "play.yml"
        path.write_text(yaml.safe_dump(book))
        command = [Path(sys.executable).parent / "ansible-playbook", "-i", "localhost,", "-c", "local", path]
        command += ["-e", f"ansible_python_interpreter={sys.executable}", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def tell(self, *command):
        return subprocess.run(command, env=self.environment, capture_output=True, text=True)

    def recorded(self, namespace):
        """The values that the chart got; None where it is not installed."""
        got = self.tell("kubectl", "-n", namespace, "get", "configmap", "recorded", "-o", "json")
        return json.loads(json.loads(got.stdout)["data"]["values"]) if got.returncode == 0 else None

    def status(self):
        answer = self.tell("helm", "-n", "cert-manager", "status", "cert-manager", "-o", "json")
        return json.loads(answer.stdout)["info"]["status"]


@pytest.fixture
def site(plane, tmp_path):
    yield from _site(plane, tmp_path)


@pytest.fixture
def empty_site(bare, tmp_path):
    """On a control plane with nothing of ours, which other tests leave registered."""
    yield from _site(bare, tmp_path)


def _site(plane, folder):
    made = Site(folder, plane)
    yield made
    for namespace, name in NAMESPACES.items():
        made.tell("helm", "-n", namespace, "uninstall", name, "--no-hooks", "--wait", "--ignore-not-found")


@pytest.fixture
def operator(site):
    return {"gpu_operator_chart": site.chart("gpu-operator"), "gpu_operator_repository": ""}


@pytest.fixture
def certs(site):
    return {"cert_manager_chart": site.chart("cert-manager"), "cert_manager_repository": ""}


def test_gpu_operator_brings_the_driver_and_no_device_plugin(site, operator):
    assert "changed=1" in site.run("gpu_operator", operator)
    assert site.recorded("gpu-operator") == {"driver": {"enabled": True}, "devicePlugin": {"enabled": False}}
    assert "changed=0" in site.run("gpu_operator", operator)


def test_gpu_operator_takes_its_images_from_a_mirror(site, operator):
    site.run("gpu_operator", operator | {"gpu_operator_registry": "mirror.example.com"})
    values = site.recorded("gpu-operator")
    assert values["driver"] == {
        "enabled": True,
        "repository": "mirror.example.com/nvidia",
        "manager": {"repository": "mirror.example.com/nvidia/cloud-native"},
    }
    assert values["devicePlugin"] == {"enabled": False}


def test_cert_manager_brings_its_definitions(site, certs):
    site.run("cert_manager", certs | {"cert_manager_values": {"image": {"registry": "mirror.example.com"}}})
    assert site.recorded("cert-manager") == {
        "crds": {"enabled": True},
        "image": {"registry": "mirror.example.com"},
    }


def test_check_mode_installs_nothing(site, certs):
    assert "changed=1" in site.run("cert_manager", certs, "--check", "--diff")
    assert site.recorded("cert-manager") is None


def test_a_secret_in_the_values_is_in_no_output_however_much_is_asked_for(site, certs):
    output = site.run(
        "cert_manager", certs | {"cert_manager_values": {"password": PLANTED}}, "-vvv", "--diff"
    )
    secret = site.tell("kubectl", "-n", "cert-manager", "get", "secret", "recorded", "-o", "json")
    assert base64.b64decode(json.loads(secret.stdout)["data"]["password"]).decode() == PLANTED
    assert PLANTED not in output


def test_a_removal_that_was_refused_does_not_stand_in_the_way_of_the_next_run(site, certs):
    """Helm leaves such a release in the state `uninstalling`, and then upgrades it no more."""
    guarded = certs | {"cert_manager_values": {"guarded": True}}
    site.run("cert_manager", guarded)
    refused = site.tell("helm", "-n", "cert-manager", "uninstall", "cert-manager", "--timeout", "2s")
    assert refused.returncode != 0
    assert site.status() == "uninstalling"
    assert "changed=1" in site.run("cert_manager", guarded)
    assert site.status() == "deployed"
    assert site.recorded("cert-manager")["guarded"] is True
    assert "changed=0" in site.run("cert_manager", guarded)


def test_an_installation_that_was_killed_is_taken_up_again(site, certs):
    """helm ends without a word, as when its machine loses power: the release stays `pending-install`."""
    chart = Path(certs["cert_manager_chart"])
    stuck = chart / "templates/stuck.yaml"
    stuck.write_text(STUCK)
    line = [
        "helm",
        "-n",
        "cert-manager",
        "install",
        "cert-manager",
        str(chart),
        "--create-namespace",
        "--wait",
    ]
    with subprocess.Popen(line, env=site.environment, stdout=subprocess.DEVNULL) as helm:
        try:
            until(lambda: site.recorded("cert-manager") is not None, "the chart's ConfigMap")
        finally:
            helm.kill()
    assert site.status() == "pending-install"
    stuck.unlink()
    # As long as another run is waited for, and as the chart may take.
    site.run("cert_manager", certs | {"cert_manager_timeout": "5s"})
    assert site.status() == "deployed"
    assert site.recorded("cert-manager") == {"crds": {"enabled": True}}


def test_a_release_that_does_not_come_up_is_rolled_back(site, certs):
    site.run("cert_manager", certs)
    (Path(certs["cert_manager_chart"]) / "templates/stuck.yaml").write_text(STUCK)
    changed = certs | {"cert_manager_values": {"changed": True}, "cert_manager_timeout": "5s"}
    output = site.run("cert_manager", changed, fails=True)
    assert "release cert-manager/cert-manager: " in output
    assert site.status() == "deployed"
    assert site.recorded("cert-manager") == {"crds": {"enabled": True}}
    assert site.tell("kubectl", "-n", "cert-manager", "get", "pod", "stuck").returncode != 0


def test_the_release_comes_from_a_repository_at_the_version_that_is_asked_for(site, tmp_path):
    repository = tmp_path / "repository"
    for version in ("26.3.1", "26.3.2"):
        packaged = ["helm", "package", site.chart("hami"), "--version", version, "--destination", repository]
        assert site.tell(*packaged).returncode == 0
    assert site.tell("helm", "repo", "index", repository).returncode == 0
    with served(repository) as address:
        variables = {"dra_release_chart": "hami", "dra_release_repository": address}
        site.run("dra_release", variables | {"dra_release_version": "26.3.1"})
    told = json.loads(site.tell("helm", "-n", "hami-system", "list", "-o", "json").stdout)
    assert [release["chart"] for release in told] == ["hami-26.3.1"]
    assert site.recorded("hami-system")["dra"] == {"enabled": True}


def test_a_second_release_is_refused_with_the_name_of_the_first(empty_site):
    def install(namespace, name):
        values = ("--set", "dra.enabled=true,hami-dra.drivers.families.enabled={amd}")
        line = ("helm", "-n", namespace, "upgrade", "--install", name, ROOT / "charts/hami", *values)
        return empty_site.tell(*line, "--create-namespace")

    assert install("hami-system", "hami").returncode == 0
    said = install("default", "hami").stderr
    assert "has HAMi's DRA mode already, as the release hami in the namespace hami-system" in said
    assert "the release hami in" in install("hami-system", "second").stderr
    assert install("hami-system", "hami").returncode == 0


@contextlib.contextmanager
def served(folder):
    """The address at which the files of FOLDER can be had."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

"""GPU Operator and cert-manager: their charts cannot be had without internet.

So `helm` is a stand-in that records the values which the roles give those charts.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PLANTED = "planted-secret-4711"

HELM = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
store = Path(os.environ["HELM_STUB"])
words = sys.argv[1:]
with open(store / "calls", "a") as calls:
    calls.write(json.dumps(words) + "\\n")
release = store / "release.json"
if words[0] == "list":
    print(json.dumps([{{"status": "deployed"}}] if release.exists() else []))
elif words[:2] == ["get", "manifest"]:
    print(json.loads(release.read_text())["manifest"])
elif words[0] == "upgrade":
    values = json.load(sys.stdin)
    manifest = "---\\nkind: ConfigMap\\ndata:\\n  values: '" + json.dumps(values) + "'\\n"
    manifest += "---\\nkind: Secret\\ndata:\\n  password: " + values.get("password", "") + "\\n"
    plan = {{"manifest": manifest.replace(values.get("password") or "-none-", "x"), "hooks": []}}
    if "--dry-run=server" in words:
        print(json.dumps(plan))
    else:
        (store / "values.json").write_text(json.dumps(values))
        release.write_text(json.dumps(plan))
"""


@pytest.fixture
def run(tmp_path):
    """Run one role with a stand-in for helm: (output, values that the chart got or None, helm's calls)."""
    helm = tmp_path / "bin/helm"
    helm.parent.mkdir()
    helm.write_text(HELM)
    helm.chmod(0o755)

    def play(role, variables, *arguments):
        book = [{"hosts": "localhost", "gather_facts": False, "roles": [{"role": role}], "vars": variables}]
        path = tmp_path / "play.yml"
        path.write_text(yaml.safe_dump(book))
        environment = dict(os.environ) | {
            "PATH": f"{helm.parent}:{os.environ['PATH']}",
            "HELM_STUB": str(tmp_path),
            "ANSIBLE_LOCALHOST_WARNING": "False",
            "ANSIBLE_NOCOLOR": "1",
        }
        program = Path(sys.executable).parent / "ansible-playbook"
        command = [
            program,
            "-i",
            "localhost,",
            "-c",
            "local",
            path,
            "-e",
            f"ansible_python_interpreter={sys.executable}",
        ]
        done = subprocess.run(
            [*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        got = tmp_path / "values.json"
        calls = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
        return done.stdout + done.stderr, json.loads(got.read_text()) if got.exists() else None, calls

    return play


def test_gpu_operator_brings_the_driver_and_no_device_plugin(run):
    output, values, calls = run("gpu_operator", {})
    assert values == {"driver": {"enabled": True}, "devicePlugin": {"enabled": False}}
    upgrade = next(call for call in calls if call[0] == "upgrade" and "--atomic" in call)
    assert upgrade[upgrade.index("--version") + 1] == "v26.3.1"
    assert "changed=1" in output
    assert "changed=0" in run("gpu_operator", {})[0]


def test_gpu_operator_takes_its_images_from_a_mirror(run):
    variables = {"gpu_operator_chart": "./gpu-operator.tgz", "gpu_operator_repository": ""}
    _, values, calls = run("gpu_operator", variables | {"gpu_operator_registry": "mirror.example.com"})
    assert values["driver"] == {
        "enabled": True,
        "repository": "mirror.example.com/nvidia",
        "manager": {"repository": "mirror.example.com/nvidia/cloud-native"},
    }
    assert values["devicePlugin"] == {"enabled": False}
    assert not any("--repo" in call for call in calls)


def test_cert_manager_brings_its_definitions(run):
    _, values, _ = run("cert_manager", {"cert_manager_values": {"image": {"registry": "mirror.example.com"}}})
    assert values == {"crds": {"enabled": True}, "image": {"registry": "mirror.example.com"}}


def test_check_mode_installs_nothing(run):
    output, values, _ = run("cert_manager", {}, "--check", "--diff")
    assert values is None
    assert "changed=1" in output


def test_a_secret_in_the_values_is_in_no_output_however_much_is_asked_for(run):
    output, values, _ = run("cert_manager", {"cert_manager_values": {"password": PLANTED}}, "-vvv", "--diff")
    assert values["password"] == PLANTED
    assert PLANTED not in output

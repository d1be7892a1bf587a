"""One gate is switched in a file; the rest stays as it is, and a deliberate `false` is respected."""

import pytest
import yaml

from tests.ansible.loading import plugin

gates = plugin("filter/gates.py")
GATE = "DRAConsumableCapacity"

MANIFEST = """\
apiVersion: v1
kind: Pod
metadata:
  name: kube-apiserver
spec:
  containers:
  - command:
    - kube-apiserver
    - --advertise-address=10.89.0.5
    - --secure-port=6443
    # added by hand
    - --v=2
    image: registry.k8s.io/kube-apiserver:v1.34.4
status: {}
"""

KUBELET = """\
apiVersion: kubelet.config.k8s.io/v1beta1
# the site's own choice
cgroupDriver: systemd
kind: KubeletConfiguration
"""

V1BETA4 = """\
apiServer: {}
apiVersion: kubeadm.k8s.io/v1beta4
controllerManager:
  extraArgs:
  - name: enable-hostpath-provisioner
    value: "true"
kind: ClusterConfiguration
kubernetesVersion: v1.34.4
networking:
  podSubnet: 10.244.0.0/16
scheduler: {}
"""

V1BETA3 = """\
apiServer:
  extraArgs:
    authorization-mode: Node,RBAC
    feature-gates: Other=true
apiVersion: kubeadm.k8s.io/v1beta3
controllerManager: {}
kind: ClusterConfiguration
scheduler: {}
"""

V4_OFF = f"{{extraArgs: [{{name: feature-gates, value: {GATE}=false}}]}}"


def manifest(flag: str) -> str:
    return MANIFEST.replace("    - --v=2\n", f"    - --v=2\n    - {flag}\n")


def edited(name: str, text: str, **options) -> str:
    plan = getattr(gates, name)(text, GATE, "FILE", **options)
    assert plan["problem"] == ""
    return plan["text"]


def refused(name: str, text: str) -> str:
    plan = getattr(gates, name)(text, GATE, "FILE")
    assert plan["text"] == text
    assert plan["problem"]
    assert "\n" not in plan["problem"]
    return plan["problem"]


def test_a_manifest_without_gates_gets_one_line_more():
    after = edited("manifest_gate", MANIFEST).splitlines()
    assert [line for line in after if line not in MANIFEST.splitlines()] == [
        f"    - --feature-gates={GATE}=true"
    ]
    assert len(after) == len(MANIFEST.splitlines()) + 1
    assert after[7:9] == ["    - kube-apiserver", f"    - --feature-gates={GATE}=true"]


@pytest.mark.parametrize("flag", ["--feature-gates=A=true,B=false", '"--feature-gates=A=true,B=false"'])
def test_gates_that_a_manifest_has_stay(flag):
    command = yaml.safe_load(edited("manifest_gate", manifest(flag)))["spec"]["containers"][0]["command"]
    assert command[-1] == f"--feature-gates=A=true,B=false,{GATE}=true"


def test_a_flag_that_stands_twice_becomes_one():
    text = manifest("--feature-gates=A=true").replace(
        "    - --v=2\n", "    - --v=2\n    - --feature-gates=C=true\n"
    )
    after = edited("manifest_gate", text)
    assert after.count("--feature-gates") == 1
    assert f"--feature-gates=C=true,A=true,{GATE}=true" in after


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("manifest_gate", MANIFEST),
        ("manifest_gate", manifest("--feature-gates=A=true")),
        ("kubelet_gate", KUBELET),
        ("kubelet_gate", KUBELET + "featureGates:\n  A: true\n"),
        ("kubelet_gate", KUBELET + "featureGates: {A: true}\n"),
        ("kubeadm_gate", V1BETA4),
        ("kubeadm_gate", V1BETA3),
    ],
)
def test_on_twice_is_on_once_and_off_again_is_the_first_text(name, text):
    on = edited(name, text)
    assert on != text
    assert edited(name, on) == on
    assert edited(name, on, on=False) == text
    assert edited(name, text, on=False) == text


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("manifest_gate", manifest(f"--feature-gates=A=true,{GATE}=false"), 13),
        ("kubelet_gate", KUBELET + f"featureGates:\n  A: true\n  {GATE}: false\n", 7),
        ("kubeadm_gate", V1BETA3.replace("Other=true", f"Other=true,{GATE}=False"), 4),
        ("kubeadm_gate", V1BETA4.replace("scheduler: {}", f"scheduler: {V4_OFF}"), 11),
    ],
)
def test_a_gate_that_an_operator_switched_off_is_not_touched(name, text, line):
    assert refused(name, text).startswith(
        f"FILE:{line}: somebody switched {GATE} off on purpose; remove that"
    )


@pytest.mark.parametrize("name", ["manifest_gate", "kubelet_gate", "kubeadm_gate"])
def test_broken_yaml_is_named_with_its_line(name):
    assert refused(name, "kind: Pod\nspec: [\nx: }\n").startswith("FILE:3: not YAML: ")
    assert refused(name, "- a list\n").startswith("FILE:1: not a YAML mapping")


def test_the_kubelets_own_lines_and_comments_stay():
    assert edited("kubelet_gate", KUBELET) == KUBELET + f"featureGates:\n  {GATE}: true\n"
    block = "featureGates:\n    # needed\n    A: true\nimageGCHighThresholdPercent: 100\n"
    after = edited("kubelet_gate", KUBELET + block)
    assert yaml.safe_load(after)["featureGates"] == {"A": True, GATE: True}
    assert "    # needed\n" in after


def test_an_empty_mapping_of_gates_is_filled():
    assert yaml.safe_load(edited("kubelet_gate", KUBELET + "featureGates: {}\n"))["featureGates"] == {
        GATE: True
    }
    assert yaml.safe_load(edited("kubelet_gate", KUBELET + "featureGates:\n"))["featureGates"] == {GATE: True}


@pytest.mark.parametrize("text", [V1BETA3, V1BETA4])
def test_every_component_of_kubeadm_gets_the_gate_in_the_form_of_its_version(text):
    document = yaml.safe_load(edited("kubeadm_gate", text))
    for component in ("apiServer", "controllerManager", "scheduler"):
        arguments = document[component]["extraArgs"]
        if isinstance(arguments, list):
            arguments = {item["name"]: item["value"] for item in arguments}
        assert f"{GATE}=true" in arguments["feature-gates"]
    assert "Other=true" not in text or "Other=true," in str(document)


def test_an_unknown_version_of_kubeadm_is_left_to_the_operator():
    assert "v1beta9 is none of kubeadm's" in refused("kubeadm_gate", V1BETA4.replace("v1beta4", "v1beta9"))


def test_a_manifest_that_hides_its_command_is_left_to_the_operator():
    text = "spec:\n  containers:\n  - {command: [kube-scheduler, --v=2]}\n"
    assert refused("manifest_gate", text).endswith("add it to the file by hand")
    assert "no command" in refused("manifest_gate", "spec:\n  containers: []\n")

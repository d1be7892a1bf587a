"""What the rollout writes into kubeadm's configuration, real kubeadm puts into the files of its next upgrade.

`kubeadm upgrade` makes manifests and the kubelet's configuration anew from two ConfigMaps. Here the same code
of the released kubeadm makes them from our texts, as a dry run: no cluster is needed, and no file outside the
test's folder is written. The scenario kind-1.34 asks `kubeadm upgrade` itself.
"""

import os
import subprocess

import pytest
import yaml

from tests.ansible.loading import plugin
from tests.cluster import go_programs, versions
from tests.support.control_plane import RELEASES

gates = plugin("filter/gates.py")
GATE = "DRAConsumableCapacity"

FORMS = {
    "v1beta4": "scheduler: {extraArgs: [{name: feature-gates, value: InPlacePodVerticalScaling=true}]}\n",
    "v1beta3": "scheduler: {extraArgs: {feature-gates: InPlacePodVerticalScaling=true}}\n",
}
KUBELET = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncgroupDriver: systemd\n"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="kubeadm runs as root only")


READ_BY = {"v1beta4": RELEASES, "v1beta3": [minor for minor in RELEASES if minor < "1.37"]}
"""Kubernetes 1.37 reads no v1beta3 any more, and sends to the kubeadm before it."""


@pytest.fixture(params=RELEASES)
def release(request):
    return versions.KUBERNETES[request.param]


@pytest.fixture
def phase(release, tmp_path):
    """Dry-run a phase of kubeadm on a configuration: by name the YAML files that it made."""

    def run(name, configuration):
        made = tmp_path / "made"
        made.mkdir()
        config = tmp_path / "kubeadm.yaml"
        config.write_text(configuration)
        kubeadm = go_programs.build(go_programs.kubernetes(release)) / "kubeadm"
        command = [kubeadm, "init", "phase", *name.split(), "--dry-run", f"--config={config}"]
        environment = dict(os.environ) | {"KUBEADM_INIT_DRYRUN_DIR": str(made)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return {file.name: yaml.safe_load(file.read_text()) for file in made.glob("*.yaml")}

    return run


@pytest.mark.parametrize(
    ("release", "form"),
    [(minor, form) for form, minors in READ_BY.items() for minor in minors],
    indirect=["release"],
)
def test_every_manifest_that_kubeadm_makes_has_the_gate(phase, release, form):
    header = f"apiVersion: kubeadm.k8s.io/{form}\nkind: ClusterConfiguration\n"
    plan = gates.kubeadm_gate(
        f"{header}kubernetesVersion: v{release.version}\n{FORMS[form]}", GATE, "ConfigMap"
    )
    assert plan["problem"] == ""
    manifests = phase("control-plane all", plan["text"])
    assert len(manifests) == 3
    for name, pod in manifests.items():
        (flag,) = (word for word in pod["spec"]["containers"][0]["command"] if "--feature-gates" in word)
        others = "InPlacePodVerticalScaling=true," if name == "kube-scheduler.yaml" else ""
        assert flag == f"--feature-gates={others}{GATE}=true"


def test_the_kubelets_configuration_that_kubeadm_makes_has_the_gate(phase, release):
    header = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"
    cluster = f"{header}kubernetesVersion: v{release.version}\n"
    plan = gates.kubelet_gate(KUBELET, GATE, "ConfigMap")
    made = phase("kubelet-start", f"{cluster}---\n{plan['text']}")
    assert made["config.yaml"]["featureGates"] == {GATE: True}

"""Other families on the real cluster: a worker carries simulated NPUs, and cards that only a profile knows.

tests/trees/mixed is put on the third worker, which has no GPU and no label gpu=on, as the root of a simulated
host. Its device nodes are /dev/null by another name.
The release is upgraded with one family that we ship, one that we do not, and a broken one.
"""

import pytest
import yaml

from tests.cluster.podman import podman
from tests.cluster.versions import REPO
from tests.e2e.kubectl import Kubectl, gpu_limits, helm, on_node, pod
from tests.support.trees import MIXED
from tests.support.waiting import until

ROOT = "/var/lib/hami-tree"
VALUES = "hami-dra.drivers.families"
EXAMPLES = REPO / "docs/examples"
NPU = "ascend.project-hami.io"
ACME = "acme.project-hami.io"
GPU = "hami-core-gpu.project-hami.io"


@pytest.fixture(scope="module")
def system(cluster):
    return Kubectl(cluster, "hami-system")


@pytest.fixture(scope="module")
def npu_node(cluster, system, tmp_path_factory):
    """The worker with the simulated families; it and the release are as before afterwards."""
    node = next(name for name in cluster.nodes() if name.endswith("worker3"))
    folder = tmp_path_factory.mktemp("profiles")
    broken = folder / "broken.yaml"
    broken.write_text(
        (EXAMPLES / "acme.yaml").read_text().replace("{index}", "{number}").replace("acme", "broken")
    )
    put_tree(node)
    revision = helm(cluster, "history", "hami", "--max", "1", "-o", "yaml")
    before = str(yaml.safe_load(revision)[-1]["revision"])
    helm(
        cluster,
        *("upgrade", "hami", "charts/hami", "--reuse-values", "--wait", "--timeout", "180s"),
        *("--set", f"{VALUES}.enabled={{ascend}},{VALUES}.hostRoot={ROOT}"),
        *("--set", f"{VALUES}.daemonSet.nodeSelector.gpu=null,{VALUES}.daemonSet.nodeSelector.npu=on"),
        *("--set-file", f"{VALUES}.profiles.acme={EXAMPLES / 'acme.yaml'}"),
        *("--set-file", f"{VALUES}.profiles.broken={broken}"),
    )
    yield node
    helm(cluster, "rollback", "hami", before, "--wait", "--timeout", "180s")
    on_node(node, "rm", "-rf", ROOT)
    for driver in (NPU, ACME):  # kubelet would do it, half a minute after the plugin left
        system("delete", "resourceslices", "--field-selector", f"spec.driver={driver}")


@pytest.fixture
def mixed_node(npu_node, cluster, system):
    """The first worker, with NPUs beside its GPU for the time of a test."""
    node = next(name for name in cluster.nodes() if name.endswith("worker"))
    put_tree(node)
    system("label", "node", node, "npu=on")
    until(lambda: npu_slices(system, node), "the NPUs of the mixed node")
    yield node
    system("label", "node", node, "npu-")
    until(
        lambda: not [pod for pod in families_pods(system) if pod["spec"].get("nodeName") == node],
        "the plugin to leave",
    )
    on_node(node, "rm", "-rf", ROOT)
    for driver in (NPU, ACME):
        chosen = f"spec.driver={driver},spec.nodeName={node}"
        system("delete", "resourceslices", "--field-selector", chosen)


def npu_slices(system, node):
    found = system.list("resourceslices")
    return [item for item in found if (item["spec"]["driver"], item["spec"]["nodeName"]) == (NPU, node)]


def families_pods(system):
    found = system.list("pods")
    return [
        item for item in found if item["metadata"]["labels"].get("app.kubernetes.io/component") == "families"
    ]


def put_tree(node):
    """The simulated host below ROOT on the node, with device nodes in place of its empty files."""
    podman("exec", node, "mkdir", "-p", ROOT)
    podman("cp", f"{MIXED}/.", f"{node}:{ROOT}")
    script = f"""
        set -e
        cd {ROOT}
        for number in 0 1; do
            : > dev/acme$number
            mkdir -p sys/class/acme/acme$number
            echo 17179869184 > sys/class/acme/acme$number/memory_bytes
        done
        find dev -type f | while read -r file; do rm "$file"; mknod -m 666 "$file" c 1 3; done
    """
    on_node(node, "sh", "-c", script)


def example(name):
    """The objects of a manifest of the docs, with the cluster's own image."""
    objects = list(yaml.safe_load_all((EXAMPLES / name).read_text()))
    for item in objects:
        for container in item["spec"].get("containers") or []:
            container |= {"image": pod("x")["spec"]["containers"][0]["image"], "imagePullPolicy": "Never"}
        if item["kind"] == "Pod":
            item["spec"]["terminationGracePeriodSeconds"] = 1
    return objects


def seen_by(namespace, name, container=""):
    """Variables and device nodes inside a running container."""
    where = ("-c", container) if container else ()
    variables = namespace("exec", name, *where, "--", "env")
    nodes = namespace("exec", name, *where, "--", "ls", "/dev")
    return dict(line.split("=", 1) for line in variables.splitlines() if "=" in line), set(nodes.split())


def driver_version(namespace, name):
    """What the mounted file of the driver says in the Pod's first container."""
    said = namespace("exec", name, "--", "cat", "/usr/local/Ascend/driver/version.info")
    return said.partition("Version=")[2].split()[0]


def slice_of(system, driver):
    found = [item for item in system.list("resourceslices") if item["spec"]["driver"] == driver]
    return found[0]["spec"] if found else None


def test_a_node_with_npus_alone_needs_no_label_of_gpu_nodes(npu_node, system):
    labels = system.get("node", npu_node)["metadata"]["labels"]
    assert labels["npu"] == "on"
    assert "gpu" not in labels
    drivers = {
        item["spec"]["driver"]
        for item in system.list("resourceslices")
        if item["spec"]["nodeName"] == npu_node
    }
    assert GPU not in drivers


def test_a_worker_publishes_each_family_in_a_slice_of_its_own(npu_node, system):
    spec = until(lambda: slice_of(system, NPU), "the NPUs' slice")
    assert (spec["nodeName"], len(spec["devices"])) == (npu_node, 8)
    policy = spec["devices"][0]["capacity"]["memory"]["requestPolicy"]
    assert policy == {"default": "64Gi", "validValues": ["16Gi", "32Gi", "64Gi"]}


def test_half_an_npu_by_a_native_claim_finds_its_nodes_mounts_and_environment(npu_node, namespace):
    for item in example("two-families.yaml"):
        if item["kind"] == "Pod":
            item["spec"]["containers"] = [
                each for each in item["spec"]["containers"] if each["name"] == "npu"
            ]
            listed = item["spec"]["resourceClaims"]
            item["spec"]["resourceClaims"] = [
                each for each in listed if each.get("resourceClaimName") == "half-npu"
            ]
        namespace.apply(item)
    assert namespace.wait_running("two-families")["spec"]["nodeName"] == npu_node
    variables, nodes = seen_by(namespace, "two-families")
    assert variables["ASCEND_VNPU_SPECS"] == "vir10_3c_32g"
    assert {"davinci_manager", "devmm_svm", "hisi_hdc"} <= nodes
    assert driver_version(namespace, "two-families") == "24.1.rc3"


def test_half_an_npu_and_a_card_in_one_pod_each_find_their_devices(mixed_node, namespace):
    namespace.apply(*example("two-families.yaml"))
    assert namespace.wait_running("two-families")["spec"]["nodeName"] == mixed_node
    variables, nodes = seen_by(namespace, "two-families", "npu")
    assert variables["ASCEND_VNPU_SPECS"] == "vir10_3c_32g"
    assert variables["ASCEND_VISIBLE_DEVICES"].isdigit()
    assert {"davinci_manager", "devmm_svm", "hisi_hdc"} <= nodes
    assert not {node for node in nodes if node.startswith(("davinci0", "nvidia"))}
    assert driver_version(namespace, "two-families") == "24.1.rc3"
    variables, nodes = seen_by(namespace, "two-families", "gpu")
    assert "ASCEND_VISIBLE_DEVICES" not in variables
    assert "nvidia0" in nodes
    allocated = namespace.get("resourceclaim", "half-npu")["status"]["allocation"]["devices"]["results"][0]
    assert allocated["consumedCapacity"] == {"memory": "32Gi"}


def test_the_same_half_by_the_resource_names_of_the_device_plugin(npu_node, namespace):
    limits = {"huawei.com/Ascend910B3": "1", "huawei.com/Ascend910B3-memory": "32768"}
    namespace.apply(pod("compatible", limits=limits))
    namespace.wait_running("compatible")
    variables, nodes = seen_by(namespace, "compatible")
    assert variables["ASCEND_VNPU_SPECS"] == "vir10_3c_32g"
    assert {"davinci_manager", "devmm_svm", "hisi_hdc"} <= nodes
    assert driver_version(namespace, "compatible") == "24.1.rc3"


def test_a_whole_npu_gets_its_own_device_node(npu_node, namespace):
    namespace.apply(pod("whole", limits={"huawei.com/Ascend910B3": "1"}))
    namespace.wait_running("whole")
    variables, nodes = seen_by(namespace, "whole")
    assert f"davinci{variables['ASCEND_VISIBLE_DEVICES']}" in nodes
    assert "ASCEND_VNPU_SPECS" not in variables


def test_an_npu_that_the_uuid_annotation_excludes_is_not_taken(npu_node, namespace, system):
    uuids = [each["attributes"]["uuid"]["string"] for each in slice_of(system, NPU)["devices"]]
    chosen = pod("chosen", limits={"huawei.com/Ascend910B3": "1"})
    chosen["metadata"]["annotations"] = {"hami.io/use-Ascend910B3-uuid": uuids[5]}
    namespace.apply(chosen)
    namespace.wait_running("chosen")
    assert seen_by(namespace, "chosen")[0]["ASCEND_VISIBLE_DEVICES"] == "5"


def test_a_claim_with_alternatives_takes_the_other_family_when_the_first_has_no_room(npu_node, namespace):
    for number in range(2):  # both workers' cards
        namespace.apply(pod(f"full-{number}", limits=gpu_limits(None, None)))
        namespace.wait_running(f"full-{number}")
    namespace.apply(*example("first-available.yaml"))
    namespace.wait_running("gpu-else-npu")
    assert seen_by(namespace, "gpu-else-npu")[0]["ASCEND_VNPU_SPECS"] == "vir05_1c_16g"
    result = namespace.get("resourceclaim", "gpu-else-npu")["status"]["allocation"]["devices"]["results"][0]
    assert (result["request"], result["driver"]) == ("accelerator/ascend", NPU)


def test_a_family_that_we_do_not_ship_works_with_one_file(npu_node, namespace, system):
    assert len(until(lambda: slice_of(system, ACME), "the slice of acme")["devices"]) == 2
    namespace.apply(pod("acme", limits={"acme.example/card": "1", "acme.example/memory": "8192"}))
    namespace.wait_running("acme")
    variables, nodes = seen_by(namespace, "acme")
    assert variables["ACME_MEMORY_MIB"] == "8192"
    assert f"acme{variables['ACME_VISIBLE_DEVICES']}" in nodes


def test_a_broken_profile_is_refused_with_file_key_and_reason_while_the_others_serve(npu_node, system):
    said = system("logs", "-l", "app.kubernetes.io/component=families", "--tail=-1")
    (line,) = [line for line in said.splitlines() if "profile refused" in line]
    assert "/etc/hami/profiles/broken.yaml: facts.memory.file: {number} is not known here" in line
    classes = {item["metadata"]["name"] for item in system.list("deviceclasses")}
    assert {NPU, ACME, GPU} <= classes
    assert slice_of(system, "broken.project-hami.io") is None


def test_what_an_npu_share_left_is_gone_with_its_pod(npu_node, namespace):
    namespace.apply(pod("gone", limits={"huawei.com/Ascend910B3": "1"}))
    namespace.wait_running("gone")
    pattern = f"/var/run/cdi/k8s.{NPU}-claim_*"
    assert on_node(npu_node, "sh", "-c", f"ls {pattern}").strip()
    namespace.delete_pod("gone")
    until(
        lambda: not on_node(npu_node, "sh", "-c", f"ls {pattern} 2>/dev/null || true").strip(), "no CDI file"
    )

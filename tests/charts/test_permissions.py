"""What each component may do, to the verb: a right that is added must be added here, with its reason."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Object, Objects, Render, pod_spec

FOLLOW = {"list", "watch"}

PLUGIN = {
    "resourceslices": FOLLOW | {"create", "update", "delete"},
    "resourceclaims": {"get", "list"},
    "resourceclaims/status": {"patch"},
    "resourceclaims/driver [hami-core-gpu.project-hami.io]": {"associated-node:patch"},
    "nodes": {"get"},
    "pods": {"get"},
    "events": {"create"},
}
WEBHOOK = {
    "pods": FOLLOW | {"get"},
    "resourceclaims": FOLLOW | {"get", "create", "delete"},
    "resourceclaimtemplates": FOLLOW | {"get", "create", "delete"},
    "resourceslices": FOLLOW,
    "events": {"create"},
    # Names alone: whether HAMi's traditional mode is registered, too.
    "mutatingwebhookconfigurations": FOLLOW,
    "mutatingwebhookconfigurations [hami-hami-dra-webhook]": {"get", "patch"},
    "validatingwebhookconfigurations [hami-hami-dra-webhook]": {"get", "patch"},
    "secrets [hami-hami-dra-webhook-tls]": {"get", "update"},
}
MONITOR = dict.fromkeys(("resourceslices", "resourceclaims", "pods", "nodes", "deviceclasses"), FOLLOW)


def granted(objects: Objects, account: str) -> dict[str, set[str]]:
    """Verbs by resource, from every role that is bound to the service account."""
    rights: dict[str, set[str]] = {}
    for binding in objects.kind("ClusterRoleBinding") + objects.kind("RoleBinding"):
        if account not in {subject["name"] for subject in binding["subjects"]}:
            continue
        role = objects.one(binding["roleRef"]["kind"], binding["roleRef"]["name"])
        for rule in role["rules"]:
            only = f" [{', '.join(rule['resourceNames'])}]" if "resourceNames" in rule else ""
            for resource in rule["resources"]:
                rights.setdefault(resource + only, set()).update(rule["verbs"])
    return rights


@pytest.mark.parametrize(
    ("kind", "name", "rights"),
    [
        ("DaemonSet", "hami-dra-driver-kubelet-plugin", PLUGIN),
        ("Deployment", "hami-hami-dra-webhook", WEBHOOK),
        ("Deployment", "hami-hami-dra-monitor", MONITOR),
    ],
    ids=["plugin", "webhook", "monitor"],
)
def test_a_component_may_do_this_and_nothing_else(
    objects: Objects, kind: str, name: str, rights: dict[str, set[str]]
) -> None:
    account = pod_spec(objects.one(kind, name))["serviceAccountName"]
    assert granted(objects, account) == rights


def test_a_webhook_that_is_given_its_certificate_may_change_neither_secrets_nor_its_configuration(
    render: Render,
) -> None:
    rights = granted(render("--set", "hami-dra.certs.mode=certManager"), "hami-hami-dra-webhook")
    dra = {"resourceclaims", "resourceclaimtemplates", "resourceslices"}
    assert set(rights) == {"pods", "events", "mutatingwebhookconfigurations"} | dra
    assert rights["mutatingwebhookconfigurations"] == FOLLOW


@pytest.mark.parametrize(
    ("name", "resource", "operations"),
    [
        ("hami-dra-driver-kubelet-plugin", "resourceslices", {"CREATE", "UPDATE", "DELETE"}),
        ("hami-dra-driver-kubelet-plugin-status", "resourceclaims/status", {"UPDATE"}),
    ],
    ids=["slices", "claim status"],
)
def test_the_plugin_is_held_to_its_own_node_by_a_policy_on_its_exact_account(
    objects: Objects, name: str, resource: str, operations: set[str]
) -> None:
    policy = objects.one("ValidatingAdmissionPolicy", name)["spec"]
    binding = objects.one("ValidatingAdmissionPolicyBinding", name)
    account = pod_spec(objects.one("DaemonSet", "hami-dra-driver-kubelet-plugin"))["serviceAccountName"]
    [condition] = policy["matchConditions"]
    [rule] = policy["matchConstraints"]["resourceRules"]
    assert binding["spec"] == {
        "policyName": name,
        "validationActions": ["Deny"],
    }
    assert condition["expression"] == (
        f'request.userInfo.username == "system:serviceaccount:hami-system:{account}"'
    )
    assert rule["resources"] == [resource]
    assert set(rule["operations"]) == operations
    assert any("variables.tokenNode" in item["expression"] for item in policy["validations"])


def containers(objects: Objects, *kinds: str) -> list[tuple[Object, Object]]:
    """Pairs of Pod specification and container, init containers included."""
    return [
        (spec, container)
        for kind in kinds
        for spec in map(pod_spec, objects.kind(kind))
        for container in spec["containers"] + spec.get("initContainers", [])
    ]


def test_webhook_monitor_and_test_meet_the_restricted_pod_security_standard(objects: Objects) -> None:
    found = containers(objects, "Deployment", "Pod")
    assert len(found) == 4
    for spec, container in found:
        pod: dict[str, Any] = spec["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert pod["runAsUser"] > 0
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not any("hostPath" in volume for volume in spec.get("volumes", []))


def test_the_plugin_shares_the_hosts_pids_for_the_audit_only_and_adds_no_capability(render: Render) -> None:
    for privileged in (True, False):
        rendered = render("--set", f"hami-dra.drivers.nvidia.daemonSet.privileged={str(privileged).lower()}")
        [(spec, plugin)] = containers(rendered, "DaemonSet")
        assert {"hostNetwork", "hostPID", "hostIPC"} & set(spec) == {"hostPID"}
        context = plugin["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context.get("privileged", False) is privileged
        assert context.get("capabilities", {"drop": ["ALL"]}) == {"drop": ["ALL"]}
    [(spec, _)] = containers(render("--set", "hami-dra.drivers.nvidia.audit.policy=none"), "DaemonSet")
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)


def test_what_the_plugin_only_reads_of_the_node_is_read_only(objects: Objects) -> None:
    [(spec, plugin)] = containers(objects, "DaemonSet")
    written = {mount["name"] for mount in plugin["volumeMounts"] if not mount.get("readOnly")}
    assert written == {"state", "cdi", "plugin", "registry", "tmp"}
    assert written <= {volume["name"] for volume in spec["volumes"]}


OPENSHIFT = ("--api-versions", "security.openshift.io/v1")


def test_on_openshift_the_plugin_may_run_privileged_and_the_others_take_the_user_that_is_given_to_them(
    render: Render,
) -> None:
    """From OpenShift's documentation of its security context constraints; not run there."""
    objects = render(*OPENSHIFT)
    plugin = granted(objects, "hami-dra-driver-kubelet-plugin")
    assert plugin.pop("securitycontextconstraints [privileged]") == {"use"}
    assert plugin == PLUGIN
    for account, rights in (("hami-hami-dra-webhook", WEBHOOK), ("hami-hami-dra-monitor", MONITOR)):
        assert granted(objects, account) == rights
    pods = [pod_spec(item) for item in objects if item["kind"] in ("Deployment", "Job")]
    pods += [item["spec"] for item in objects.kind("Pod")]
    assert len(pods) == 4
    for spec in pods:
        assert spec["securityContext"]["runAsNonRoot"]
        assert "runAsUser" not in str(spec)

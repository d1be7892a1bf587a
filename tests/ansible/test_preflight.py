"""What preflight makes of a node's facts, before anything changes."""

import pytest

from tests.ansible.loading import plugin

preflight = plugin("filter/preflight.py")

WELL = {
    "kernel": "6.1.0-18-amd64",
    "driver": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.144.03  Mon Dec 30",
    "cgroup": "cgroup2fs",
    "selinux": "",
    "selinux label": "",
    "apparmor": "Y",
    "apparmor parser": "/usr/sbin/apparmor_parser",
    "free /etc": "9000000",
    "free /var/lib": "9000000",
}


def findings(source="operator", **changes):
    names = {"free_etc": "free /etc", "free_var": "free /var/lib", "parser": "apparmor parser"}
    names["label"] = "selinux label"
    facts = WELL | {names.get(key, key): value for key, value in changes.items()}
    return preflight.node_findings("\n".join(f"{key}={value}" for key, value in facts.items()), source)


def test_a_node_that_is_well_has_no_findings():
    assert findings() == []
    assert findings("host") == []


@pytest.mark.parametrize(
    ("changes", "identity", "severity", "said"),
    [
        ({"kernel": "4.18.0-553.el8"}, "kernel-version", "error", "kernel 4.18.0-553.el8, expected 4.19"),
        ({"driver": "Kernel Module  418.226.00"}, "driver-version", "error", "driver 418.226, expected 440"),
        ({"cgroup": "tmpfs"}, "cgroup-version", "warning", "cgroup v1, expected v2"),
        ({"selinux": "1", "label": "system_u:object_r:var_lib_t:s0"}, "selinux", "warning", "restorecon"),
        ({"parser": ""}, "apparmor", "warning", "install the package apparmor"),
        ({"free_var": "1024"}, "free-disk", "error", "1 MiB free in /var/lib, expected 512 MiB"),
        ({"free_etc": "0"}, "free-disk", "error", "0 MiB free in /etc, expected 16 MiB"),
    ],
)
def test_each_thing_that_is_wrong_is_told_with_its_remedy(changes, identity, severity, said):
    (finding,) = findings(**changes)
    assert (finding["id"], finding["severity"]) == (identity, severity)
    assert said in finding["text"]
    assert ";" in finding["text"]


def test_a_missing_driver_matters_only_where_the_host_must_have_it():
    assert findings("operator", driver="") == []
    assert findings("simulated", driver="") == []
    assert findings("none", driver="") == findings("none", driver="Kernel Module  418.226.00") == []
    assert findings("host", driver="")[0]["id"] == "driver-version"


def test_where_the_security_modules_are_set_up_nothing_is_said():
    assert findings(selinux="1", label="system_u:object_r:container_file_t:s0") == []
    assert findings(selinux="1", label="") == [], "before the first rollout: the plugin will label its folder"
    assert findings(apparmor="", parser="") == []


def test_a_simulated_driver_must_not_hide_a_real_one():
    (finding,) = findings("simulated")
    assert (finding["id"], finding["severity"]) == ("driver-version", "error")
    assert "/proc/driver/nvidia shows a real NVIDIA driver; remove hami_simulated_gpus" in finding["text"]

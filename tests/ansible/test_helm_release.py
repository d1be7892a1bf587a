"""The release module decides by the objects that would change, and shows no secret."""

from datetime import UTC, datetime

import pytest

from tests.ansible.loading import plugin

helm = plugin("modules/helm_release.py")

OBJECT = "---\n# Source: hami/templates/a.yaml\nkind: Service\nmetadata:\n  name: a\n"
SECRET = "---\nkind: Secret\nmetadata:\n  name: s\ndata:\n  tls.key: cHJpdmF0ZQ==\n"


def release(manifest: str, status: str = "deployed") -> dict:
    return {"manifest": manifest, "info": {"status": status}, "hooks": []}


def test_the_same_objects_are_no_change_whatever_their_comments_and_spacing():
    assert helm.is_current(
        release(OBJECT), release(OBJECT.replace("# Source: hami", "# Source: other") + "\n\n")
    )


def test_another_object_is_a_change():
    assert not helm.is_current(release(OBJECT), release(OBJECT.replace("name: a", "name: b")))


def test_no_release_is_a_change():
    assert not helm.is_current(None, release(OBJECT))


def test_a_failed_release_is_installed_again_even_with_the_same_objects():
    assert not helm.is_current(release(OBJECT, "failed"), release(OBJECT))


def test_a_changed_secret_is_a_change_and_its_content_is_not_shown():
    other = SECRET.replace("cHJpdmF0ZQ==", "b3RoZXI=")
    assert not helm.is_current(release(SECRET), release(other))
    shown = helm.shown(helm.objects(release(OBJECT + SECRET)))
    assert "cHJpdmF0ZQ" not in shown
    assert "name: s" in shown
    assert "name: a" in shown
    assert shown != helm.shown(helm.objects(release(OBJECT + other)))


def test_a_version_and_a_repository_reach_helm_only_when_they_are_given():
    options = {"name": "hami", "namespace": "hami-system", "chart": "charts/hami", "values": {}}
    assert "--repo" not in helm.command(options)
    pinned = helm.command(options | {"repository": "https://charts.example.com", "version": "v1"})
    assert pinned[-4:] == ["--repo", "https://charts.example.com", "--version", "v1"]


def test_an_error_of_helm_is_one_line_without_warnings():
    error = (
        "WARNING: Kubernetes configuration file is group-readable\nError: values don't meet\n- the schema\n"
    )
    assert helm.short(error) == "values don't meet - the schema"


def test_hooks_are_objects_too_in_whatever_order_helm_names_them():
    one, two = "kind: Pod\nmetadata: {name: one}", "kind: Pod\nmetadata: {name: two}"
    planned = release(OBJECT) | {"hooks": [{"manifest": two}, {"manifest": one}]}
    deployed = release(OBJECT) | {"hooks": [{"manifest": f"---\n# Source: x\n{one}\n---\n{two}\n"}]}
    assert helm.is_current(deployed, planned)
    assert not helm.is_current(release(OBJECT), planned)


def found(status: str, version: int = 3) -> dict:
    begun = "2026-01-02T03:04:05.123456789Z"
    return {"name": "hami", "version": version, "info": {"status": status, "last_deployed": begun}}


WORKED = [{"revision": 1, "status": "superseded"}, {"revision": 2, "status": "deployed"}]


@pytest.mark.parametrize(
    ("status", "history", "steps"),
    [
        ("deployed", WORKED, []),
        ("failed", [], []),
        ("pending-upgrade", WORKED, ["rollback", "hami", "2"]),
        ("pending-rollback", WORKED, ["rollback", "hami", "2"]),
        ("pending-install", [], ["uninstall", "hami", "--no-hooks", "--wait"]),
        ("uninstalling", WORKED, ["rollback", "hami", "3"]),
    ],
)
def test_a_release_that_was_left_half_way_is_mended_and_no_other(status, history, steps):
    assert helm.recovery(found(status), history) == steps


def test_another_run_is_given_its_time_and_no_more():
    after = datetime(2026, 1, 2, 3, 7, 5, tzinfo=UTC)
    assert 119 < helm.busy_s(found("pending-upgrade"), "5m", after) < 121
    assert helm.busy_s(found("pending-upgrade"), "1m30s", after) == 0
    assert helm.busy_s(found("deployed"), "5m", after) == 0

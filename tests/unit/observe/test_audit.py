"""A process that holds memory of a card past the limiter is found; one that goes through it is not."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from hami_dra.model.errors import DriverError, StateError, Unavailable
from hami_dra.model.ledger import Slot
from hami_dra.model.names import MIB
from hami_dra.model.reading import DriverProcess
from hami_dra.observe.audit import SLACK, Confirmation, grouped, judge
from hami_dra.observe.auditor import Auditor
from hami_dra.observe.holders import Grant
from hami_dra.observe.ledgers import Reading
from hami_dra.observe.node_usage import NodeUsage
from hami_dra.observe.processes import TenantProcess, pod_of, started
from hami_dra.observe.shares import NodeShare
from tests.support.audited import CONTAINER, UID, Audited
from tests.support.fake_kube import FakeKube
from tests.support.limited import A10, CONTEXT
from tests.support.waiting import until

GIB = 1024**3


def process(pid=100, memory=GIB, inner=7, pod=UID, uuid=A10) -> TenantProcess:
    return TenantProcess(uuid, pid, 1, inner, memory, pod, CONTAINER)


def share(*slots: tuple[int, int], trusted=False) -> NodeShare:
    """A share with a living process for each (pid, used)."""
    living = tuple(Slot(used, 0, pid, 0, 0, 0, 0) for pid, used in slots)
    reading = Reading(0, 0, living, dict(enumerate(living)))
    return NodeShare("one", A10, 10 * GIB, 50, False, trusted, reading)


def kinds(processes, *held: NodeShare) -> list[str]:
    groups = grouped(processes, lambda uid: held if uid == UID else ())
    return [finding.kind for finding in judge(groups)]


@pytest.mark.parametrize(
    ("processes", "held", "expected"),
    [
        ([process()], share((7, GIB)), []),
        ([process()], share((8, GIB)), ["without-limiter"]),
        ([process()], share(), ["without-limiter"]),
        ([process(memory=0)], share(), []),
        ([process()], share(trusted=True), []),
        ([process(memory=GIB + SLACK)], share((7, GIB)), []),
        ([process(memory=GIB + SLACK + 1)], share((7, GIB)), ["beyond-ledger"]),
        # Two containers of a Pod, each with a process 7: one booked, one hidden.
        ([process(1), process(2, 2 * GIB)], share((7, GIB)), ["beyond-ledger"]),
        ([process(1), process(2)], share((7, GIB), (7, GIB)), []),
    ],
    ids=[
        "booked",
        "another process booked",
        "nobody booked",
        "holds nothing",
        "trusted",
        "within the slack",
        "over the slack",
        "one hidden of two alike",
        "two alike",
    ],
)
def test_what_is_not_booked_is_found(processes, held, expected):
    assert kinds(processes, held) == expected


def test_a_share_of_two_containers_vouches_for_a_process_once():
    both = share((7, GIB))
    assert kinds([process(memory=GIB + SLACK + 1)], both, both) == ["beyond-ledger"]


def test_a_dead_processs_slot_vouches_for_nobody():
    slots = (Slot(GIB, 0, 7, 0, 0, 0, 0),)
    dead = NodeShare("one", A10, GIB, 50, False, False, Reading(0, 0, slots))
    assert kinds([process()], dead) == ["without-limiter"]


def test_a_pod_without_a_share_of_the_card_is_told_as_such():
    assert kinds([process(uuid="GPU-2")], share((7, GIB))) == ["without-share"]
    assert kinds([process(pod="other")], share((7, GIB))) == ["without-share"]


def test_a_share_whose_ledger_cannot_be_read_is_told_as_such():
    damaged = NodeShare("one", A10, GIB, 50, False, False, Reading(0, 0, damaged=True))
    assert kinds([process()], damaged) == ["without-ledger"]


def test_a_finding_is_reported_once_and_only_after_two_rounds():
    confirmation = Confirmation()
    findings = judge(grouped([process()], lambda uid: [share()]))
    assert confirmation.round(findings) == []
    assert confirmation.round(findings) == findings
    assert confirmation.round(findings) == []
    assert confirmation.standing == findings
    confirmation.round([])
    assert confirmation.standing == []


@pytest.mark.parametrize(
    "line",
    [
        f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID.replace('-', '_')}.slice/"
        f"cri-containerd-{CONTAINER}.scope",
        f"12:memory:/kubelet/kubepods/burstable/pod{UID}/{CONTAINER}",
        f"0::/../../pod{UID}/{CONTAINER}",
        f"1:name=systemd:/x\n0::/kubepods/pod{UID}/{CONTAINER}/inner",
    ],
    ids=["v2 systemd", "v1 cgroupfs", "v2 seen from another Pod", "both"],
)
def test_pod_and_container_are_read_from_a_cgroup(line):
    assert pod_of(line) == (UID, CONTAINER)


def test_a_process_of_the_host_belongs_to_no_pod():
    assert pod_of("0::/system.slice/nvidia-persistenced.service") == ("", "")


@pytest.mark.native
def test_a_hidden_process_is_told_in_a_metric_and_an_event_on_its_pod(tmp_path, node, kube):
    audited = Audited(tmp_path, node, kube)
    booked, hidden = node.hold("one", "1Gi"), node.hide("2Gi")
    audited.sees(booked.pid, GIB + CONTEXT)
    audited.sees(hidden.pid, 2 * GIB + CONTEXT)
    text = audited.rounds()
    labels = f'namespace="ml",pod="train",container="cuda",device_uuid="{A10}",kind="without-limiter"'
    assert f'hami_audit_unbooked_memory_bytes{{node="n1",{labels}}} {2 * GIB + CONTEXT}' in text
    (said,) = audited.events()
    assert said == (
        f"Process {hidden.pid} of container cuda holds {2304}Mi of card {A10} without the limiter."
    )
    assert hidden.poll() is None, "the policy is to warn"
    audited.rounds(3)
    assert len(audited.events()) == 1, "told once"


@pytest.mark.native
def test_a_hidden_process_that_grows_is_told_as_it_is_now(tmp_path, node, kube):
    audited = Audited(tmp_path, node, kube)
    hidden = node.hide("1Gi")
    audited.sees(hidden.pid, GIB)
    audited.rounds()
    audited.driver.found.clear()
    audited.sees(hidden.pid, 8 * GIB)
    assert f'kind="without-limiter"}} {8 * GIB}\n' in audited.rounds()
    assert len(audited.events()) == 1


@pytest.mark.native
def test_who_damages_the_ledger_is_told_and_not_taken_for_a_stranger(tmp_path, node, kube):
    audited = Audited(tmp_path, node, kube, "stop")
    hidden = node.hide("1Gi")
    audited.sees(hidden.pid, GIB)
    (node.state / "shares" / "one" / "ledger").write_bytes(b"\xff" * 100)
    assert 'kind="without-ledger"' in audited.rounds()
    (said,) = audited.events()
    assert said.endswith(f"of card {A10}, and the ledger of its share cannot be read.")
    assert hidden.poll() is None


@pytest.mark.native
def test_its_series_ends_with_the_process(tmp_path, node, kube):
    audited = Audited(tmp_path, node, kube)
    hidden = node.hide("1Gi")
    audited.sees(hidden.pid, GIB)
    assert "without-limiter" in audited.rounds()
    audited.driver.found.clear()
    assert "without-limiter" not in audited.rounds(1)


@pytest.mark.native
def test_with_the_policy_stop_it_and_no_other_is_stopped(tmp_path, node, kube):
    audited = Audited(tmp_path, node, kube, "stop")
    booked, hidden = node.hold("one", "1Gi"), node.hide("1Gi")
    audited.sees(booked.pid, GIB + CONTEXT)
    audited.sees(hidden.pid, GIB)
    text = audited.rounds()
    assert hidden.wait(timeout=5) == -9
    assert booked.poll() is None
    assert audited.events()[0].endswith("it was stopped.")
    assert 'hami_audit_stopped_total{node="n1"} 1' in text


@pytest.mark.native
def test_a_process_that_got_the_pid_of_the_culprit_is_left_alone(tmp_path, node, kube, monkeypatch):
    audited = Audited(tmp_path, node, kube, "stop")
    innocent = node.hide("1Gi")
    audited.sees(innocent.pid, GIB)
    real = started
    asked: list[int] = []

    def later(pid: int, proc: Path) -> int:
        asked.append(pid)
        return real(pid, proc) + (len(asked) > 2)  # the third question is the one before the signal

    monkeypatch.setattr("hami_dra.observe.processes.started", later)
    audited.rounds()
    assert len(asked) == 3
    assert innocent.poll() is None


def test_memory_that_is_booked_never_becomes_a_finding_by_its_size():
    assert kinds([process(memory=9000 * MIB)], share((7, 9000 * MIB))) == []


@pytest.mark.native
def test_when_kubelet_or_the_api_cannot_be_asked_nobody_is_accused(tmp_path, node, kube, monkeypatch):
    booked = node.hold("one", "1Gi")
    audited = Audited(tmp_path, node, kube)
    audited.sees(booked.pid, GIB + CONTEXT)

    def down(*_: Any) -> Any:
        raise Unavailable("the API server is away")

    with monkeypatch.context() as away:
        away.setattr(kube, "get", down)
        for _ in range(3):
            with pytest.raises(Unavailable):
                audited.rounds(1)
    audited.kubelet_is_silent()
    with pytest.raises(StateError, match="which container holds which share"):
        audited.rounds(1)
    assert "kind=" not in "".join(audited.auditor.text())
    assert audited.events() == []


@pytest.mark.native
def test_rounds_that_cannot_look_are_counted_and_do_not_end_the_audit(tmp_path, node, kube):
    audited = Audited(tmp_path, node, kube)
    audited.sees(node.hide("1Gi").pid, GIB)
    audited.kubelet_is_silent()
    stop = threading.Event()
    thread = threading.Thread(target=audited.auditor.run, args=(stop,))
    thread.start()
    try:
        until(lambda: audited.auditor.counts.failed, "a round that failed")
        audited.grants.append(Grant("ml", "train", "cuda", "half", "hami-gpu-0", "one"))
        until(audited.events, "the Event")
    finally:
        stop.set()
        thread.join()
    assert len(audited.events()) == 1


def test_that_it_cannot_look_is_logged_at_changes_alone(tmp_path):
    ahead = deque([*["gone"] * 3, *["too old"] * 2, *[""] * 2, "gone"])

    class Driver:
        def processes(self) -> list[DriverProcess]:
            if problem := ahead.popleft():
                raise DriverError(problem)
            return []

    class Stop(threading.Event):
        def wait(self, timeout=None):
            return not ahead

    usage = NodeUsage("n1", tmp_path, Driver(), list, legacy=False)
    auditor = Auditor("n1", "warn", Driver(), usage.sample, list, usage.book, FakeKube())
    with capture_logs() as lines:
        auditor.run(Stop())
    assert [line.get("problem", "") for line in lines] == ["gone", "too old", "", "gone"]
    assert auditor.counts.failed == 6


@pytest.mark.native
def test_a_pod_without_a_share_of_the_card_is_told_and_never_stopped(tmp_path, node, kube):
    audited = Audited(tmp_path, node, kube, "stop")
    monitor = node.hide("1Gi")
    audited.sees(monitor.pid, GIB, "GPU-of-nobody")
    text = audited.rounds(3)
    assert 'kind="without-share"' in text
    assert audited.events()[0].endswith("of which its Pod has no share.")
    assert monitor.poll() is None

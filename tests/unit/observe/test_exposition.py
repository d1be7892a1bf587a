"""The text of our metrics, as Prometheus' own tool reads and judges it."""

from __future__ import annotations

import subprocess
from dataclasses import replace

from hami_dra.model.ledger import Slot
from hami_dra.model.reading import CardReading
from hami_dra.observe import allocation_metrics, usage_metrics
from hami_dra.observe.audit import Finding
from hami_dra.observe.auditor import COUNTS, FINDINGS, Counts, Reported
from hami_dra.observe.exposition import Family, Table, render
from hami_dra.observe.holders import Holder
from hami_dra.observe.ledgers import Reading
from hami_dra.observe.processes import TenantProcess
from hami_dra.observe.shares import NodeShare
from hami_dra.observe.totals import Total
from tests.cluster import prometheus
from tests.support.cluster_page import cluster

SHARE = NodeShare("one", "GPU-1", 1 << 30, 50, False, False, Reading(1500000000, 0))
USE = usage_metrics.ShareUse("n1", SHARE, Holder("ml", "train", "cuda", "0"), Total(3, 0.25))
CARD = usage_metrics.CardUse("n1", CardReading("GPU-1", 0, "NVIDIA A10", True, 1, 2, 0.5, 0.1, 41, 88.5))
PROCESS = TenantProcess("GPU-1", 1, 1, 1, 1, "uid", "id")
REPORTED = Reported("n1", "ml", "train", "cuda", Finding(PROCESS, "without-limiter", 1))


def judged(text: str) -> str:
    """What `promtool check metrics` says: nothing when it has no objection."""
    command = [prometheus.folder() / "promtool", "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    return done.stdout + done.stderr


def test_promtool_has_nothing_against_the_metrics_of_a_node() -> None:
    text = "".join(usage_metrics.text([USE], [CARD], legacy=False))
    audit = "".join([*render(FINDINGS, [REPORTED]), *render(COUNTS, [Counts("n1", rounds=2)])])
    assert judged(text + audit) == ""
    assert "hami_vgpu_compute_seconds_total" in text
    assert text.count("} 1.5\n") == 1


def test_how_long_ago_a_share_computed_is_told_once_it_has() -> None:
    def told(active_s: int) -> list[str]:
        slot = Slot(0, 0, pid=1, active_s=active_s, refused=0, compute_ns=0, throttled_ns=0)
        use = replace(USE, share=replace(SHARE, ledger=Reading(0, 0, (slot,))), now_s=100.0)
        lines = "".join(usage_metrics.text([use], [], legacy=False)).splitlines()
        return [
            line.rpartition(" ")[2]
            for line in lines
            if line.startswith("hami_container_last_kernel_elapsed_seconds{")
        ]

    assert (told(60), told(0)) == (["40.0"], [])


def test_promtool_has_nothing_against_the_metrics_of_the_monitor() -> None:
    assert judged("".join(allocation_metrics.text(cluster(), {"pods": 1764246000.25}, legacy=False))) == ""


def test_the_older_names_can_at_least_be_read() -> None:
    text = "".join(allocation_metrics.text(cluster(), {}, legacy=True))
    text += "".join(usage_metrics.text([USE], [CARD], legacy=True))
    said = judged(text)
    assert "error while linting" not in said
    objected = {line.split()[0] for line in said.splitlines()} - {"hami_gpu_shared_count"}
    assert {name[:4] for name in objected} <= {"GPUD", "vGPU", "Host", "Devi"}


def test_a_label_may_hold_anything() -> None:
    table: Table[str] = Table("x", ("label",), lambda each: (each,), (Family("hami_x", "X.", lambda _: 1),))
    text = "".join(render(table, ['a"b', "back\\slash", "new\nline", "ümlaut"]))
    assert 'label="a\\"b"' in text
    assert 'label="back\\\\slash"' in text
    assert 'label="new\\nline"' in text
    assert judged(text) == ""


def test_rows_with_the_same_labels_are_one_series() -> None:
    table: Table[int] = Table("x", ("label",), lambda _: ("same",), (Family("hami_x", "X.", float),))
    lines = [line for text in render(table, [1, 2]) for line in text.splitlines() if line[0] != "#"]
    assert lines == ['hami_x{label="same"} 3.0']

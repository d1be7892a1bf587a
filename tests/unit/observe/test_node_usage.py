"""What a node's scrape says of its shares, with real processes under the real limiter (simulated card)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hami_dra.model.errors import DriverError
from hami_dra.model.reading import CardReading
from hami_dra.observe import ledgers
from hami_dra.observe.holders import Grant
from hami_dra.observe.node_usage import NodeUsage
from tests.support.limited import A10, CONTEXT, SimulatedShares

pytestmark = pytest.mark.native
GIB = 1024**3
CARD = CardReading(A10, 0, "NVIDIA A10", True, 3 * GIB, 23 * GIB, 0.25, 0.1, 41, 88.5)


class Driver:
    def __init__(self, *cards: CardReading) -> None:
        self._cards = list(cards)

    def cards(self):
        if not self._cards:
            raise DriverError("NVML is gone")
        return self._cards

    def processes(self):
        return []


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SimulatedShares]:
    shares = SimulatedShares(tmp_path)
    yield shares
    shares.close()


def scrape(node: SimulatedShares, *grants: Grant, driver: Driver | None = None, legacy: bool = False):
    usage = NodeUsage("n1", node.state, driver or Driver(CARD), lambda: list(grants), legacy=legacy)
    return samples(usage.text())


def samples(text: str) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def of(series: dict[str, float], name: str) -> list[float]:
    return [value for key, value in series.items() if key.partition("{")[0] == name]


def grant(share_id="one", pod="train", container="cuda", device="hami-gpu-0") -> Grant:
    return Grant("ml", pod, container, "half", device, share_id)


def test_a_share_shows_zero_use_and_its_limits_before_anything_runs_in_it(node):
    node.add("one")
    series = scrape(node, grant())
    assert of(series, "hami_vgpu_memory_used_bytes") == [0]
    assert of(series, "hami_vgpu_memory_limit_bytes") == [10 * GIB]
    assert of(series, "hami_vgpu_core_limit_ratio") == [0.5]
    for name in (
        "compute_seconds_total",
        "throttled_seconds_total",
        "allocations_refused_total",
        "processes",
    ):
        assert of(series, f"hami_vgpu_{name}") == [0]


def test_a_share_is_labelled_with_who_holds_it(node):
    node.add("one")
    (label,) = [name for name in scrape(node, grant()) if name.startswith("hami_vgpu_processes")]
    assert label == (
        'hami_vgpu_processes{namespace="ml",pod="train",container="cuda",vdevice_index="0",'
        f'device_uuid="{A10}",node="n1",share="one"}}'
    )


def test_what_processes_hold_is_told_to_the_byte_and_goes_with_them(node):
    node.add("one")
    first, _ = node.hold("one", "1Gi"), node.hold("one", "512Mi")
    series = scrape(node, grant())
    assert of(series, "hami_vgpu_memory_used_bytes") == [GIB + GIB // 2 + 2 * CONTEXT]
    assert of(series, "hami_vgpu_processes") == [2]
    node.end(first)  # SIGKILL: its slot still says 1 GiB, and nobody has reaped it
    series = scrape(node, grant())
    assert of(series, "hami_vgpu_memory_used_bytes") == [GIB // 2 + CONTEXT]
    assert of(series, "hami_vgpu_processes") == [1]


def test_refused_allocations_are_counted(node):
    node.add("one", memory=2 * GIB)
    with pytest.raises(AssertionError, match="could not hold"):
        node.hold("one", "8Gi")
    assert of(scrape(node, grant()), "hami_vgpu_allocations_refused_total") == [1]


def test_the_series_of_a_share_end_with_its_folder(node):
    folder = node.add("one")
    usage = NodeUsage("n1", node.state, Driver(CARD), lambda: [grant()], legacy=False)
    assert of(samples(usage.text()), "hami_vgpu_memory_used_bytes") == [0]
    (folder / "limits").unlink()
    assert of(samples(usage.text()), "hami_vgpu_memory_used_bytes") == []


def test_a_damaged_share_does_not_hide_the_others(node):
    node.add("one")
    (node.add("two") / "ledger").write_bytes(b"\xff" * 100)
    (node.add("three") / "limits").write_text("memory=much")
    assert len(of(scrape(node), "hami_vgpu_memory_used_bytes")) == 1


def test_a_damaged_ledger_is_told_and_its_numbers_are_not_invented(node):
    ledger = node.add("one") / "ledger"
    usage = NodeUsage("n1", node.state, Driver(CARD), lambda: [grant()], legacy=True)
    assert of(samples(usage.text()), "hami_vgpu_ledger_damaged") == [0]
    whole = ledger.read_bytes()
    ledger.write_bytes(whole[:100])
    series = samples(usage.text())
    assert of(series, "hami_vgpu_ledger_damaged") == [1]
    assert of(series, "hami_vgpu_memory_limit_bytes") == [10 * GIB]
    told = {name.partition("{")[0] for name in series if 'share="one"' in name or "podname" in name}
    assert told == {
        "hami_vgpu_ledger_damaged",
        "hami_vgpu_memory_limit_bytes",
        "hami_vgpu_core_limit_ratio",
        "vGPU_device_memory_limit_in_bytes",
    }
    ledger.write_bytes(whole)
    assert of(samples(usage.text()), "hami_vgpu_memory_used_bytes") == [0]


def test_a_ledger_that_its_container_has_filled_with_locks_is_damaged_and_holds_nobody_up(node, monkeypatch):
    """With 20 000 locks, a look at 1024 slots takes 10 s. Placing them takes longer, so no patience."""
    node.add("one")
    node.hold("one", "1Gi")
    node.add("two")
    monkeypatch.setattr(ledgers, "PATIENCE_S", 0)
    series = scrape(node)
    assert sorted(of(series, "hami_vgpu_ledger_damaged")) == [0, 1]
    assert of(series, "hami_vgpu_memory_used_bytes") == [0]


def test_a_share_of_two_containers_is_counted_once(node):
    node.add("one")
    node.hold("one", "1Gi")
    series = scrape(node, grant(container="b"), grant(container="a"))
    assert of(series, "hami_vgpu_memory_used_bytes") == [GIB + CONTEXT]
    assert any('container="a,b"' in name for name in series)


def test_two_shares_of_a_container_are_told_apart_by_their_index(node):
    node.add("one")
    node.add("two")
    series = scrape(node, grant("one"), grant("two", device="hami-gpu-1"))
    indexes = [
        name.split('vdevice_index="')[1][0] for name in series if name.startswith("hami_vgpu_processes")
    ]
    assert sorted(indexes) == ["0", "1"]


def test_cards_show_what_the_driver_says_of_them(node):
    series = scrape(node)
    labels = f'{{node="n1",device_index="0",device_uuid="{A10}",device_type="NVIDIA A10"}}'
    assert series[f"hami_host_gpu_memory_used_bytes{labels}"] == 3 * GIB
    assert series[f"hami_host_gpu_temperature_celsius{labels}"] == 41
    assert series[f"hami_host_gpu_power_watts{labels}"] == 88.5
    assert series[f"hami_host_gpu_utilization_ratio{labels}"] == 0.25
    assert series[f"hami_host_gpu_healthy{labels}"] == 1


def test_a_lost_card_is_unhealthy_and_tells_nothing_else(node):
    series = scrape(node, driver=Driver(CardReading(A10, 0, "NVIDIA A10", healthy=False)))
    assert of(series, "hami_host_gpu_healthy") == [0]
    assert of(series, "hami_host_gpu_memory_used_bytes") == []


def test_without_a_driver_the_shares_are_still_told(node):
    node.add("one")
    usage = NodeUsage("n1", node.state, Driver(), list, legacy=False)
    with capture_logs() as lines:
        series = [samples(usage.text()) for _ in range(2)][1]
    assert of(series, "hami_vgpu_memory_limit_bytes") == [10 * GIB]
    assert of(series, "hami_host_gpu_healthy") == []
    assert [line["problem"] for line in lines] == ["NVML is gone"], "told once"


def test_the_older_names_come_only_when_they_are_asked_for(node):
    node.add("one")
    series = scrape(node, grant(), legacy=True)
    labels = f'{{podnamespace="ml",podname="train",ctrname="cuda",vdeviceid="0",deviceuuid="{A10}"}}'
    assert series[f"vGPU_device_memory_limit_in_bytes{labels}"] == 10 * GIB
    assert of(series, "HostCoreUtilization") == [25]
    assert not [name for name in scrape(node, grant()) if not name.startswith("hami_")]


def test_a_scrape_does_not_wait_for_a_process_that_is_stopped_in_the_middle_of_its_work(node):
    node.add("one")
    process = node.hold("one", "1Gi")
    process.send_signal(19)  # SIGSTOP: it holds its slot's lock all the while
    started = time.monotonic()
    assert of(scrape(node, grant()), "hami_vgpu_memory_used_bytes") == [GIB + CONTEXT]
    assert time.monotonic() - started < 5

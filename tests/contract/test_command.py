"""`hami plugin` as the DaemonSet starts it, over the simulated driver."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from hami_dra import native_files
from hami_dra.kube import RESOURCE_SLICES
from hami_dra.node.plugin import Config
from tests.contract.conftest import Add
from tests.contract.test_left_overs import check
from tests.support.cards import NODE, claim, share
from tests.support.fake_kube import FakeKube
from tests.support.kube_server import serving
from tests.support.kubelet import Kubelet
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.native

CHECKOUT = Path(__file__).parents[2]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The chart's variables."""
    return os.environ | {
        "PYTHONPATH": str(CHECKOUT / "src"),
        "KUBECONFIG": str(folder / "kubeconfig"),
        "HAMI_NODE_NAME": NODE,
        "HAMI_POD_UID": "d99dc6df-092c-4f3a-ac55-cfb88c017af7",
        "HAMI_DRIVER_ROOT": str(folder / "driver-root"),
        "HAMI_HOST_DRIVER_ROOT": "/run/nvidia/driver",
        "HAMI_STATE_DIR": str(folder / "state"),
        "HAMI_CDI_DIR": str(folder / "cdi"),
        "HAMI_CDI_STATIC_DIR": str(folder / "etc-cdi"),
        "HAMI_KUBELET_PLUGINS_DIR": str(folder / "plugins"),
        "HAMI_KUBELET_REGISTRY_DIR": str(folder / "registry"),
        "HAMI_LIMITER": str(folder / "libvgpu.so"),
        "HAMI_LOG_FORMAT": "json",
        **more,
    }


@pytest.fixture
def driver_root(folder: Path) -> Path:
    """As the role gpu_simulator lays it out."""
    root = folder / "driver-root"
    for part in ("usr/lib64", "etc/hami-sim", "var/lib/hami-sim", "usr/bin"):
        (root / part).mkdir(parents=True)
    shutil.copy(native_files.find("sim/libnvidia-ml.so.1"), root / "usr/lib64")
    shutil.copy(CHECKOUT / "tests/guide/gpus-a10.yaml", root / "etc/hami-sim/gpus.yaml")
    return root


COMMAND = [sys.executable, "-m", "hami_dra.cli.main", "plugin"]


def test_the_daemonsets_command_publishes_prepares_and_stops(
    folder: Path, driver_root: Path, kube: FakeKube, config: Config, add: Add
) -> None:
    health, metrics = free_port(), free_port()
    variables = environment(folder, HAMI_HEALTH_PORT=str(health), HAMI_METRICS_PORT=str(metrics))
    with serving(kube, folder), subprocess.Popen(COMMAND, env=variables) as process:
        try:
            kubelet = Kubelet(config.registry)
            kubelet.register()
            until(lambda: kube.list(RESOURCE_SLICES)[0])
            (published,) = kube.list(RESOURCE_SLICES)[0]
            assert published["spec"]["devices"][0]["attributes"]["productName"] == {"string": "NVIDIA A10"}
            body = add(claim("half", share()))
            assert kubelet.prepare(body)[body["metadata"]["uid"]].error == ""
            until(lambda: check(health, "readiness") == "SERVING")
            with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=60) as page:
                text = page.read().decode()
            assert 'hami_node_prepare_duration_seconds_bucket{le="0.0005"}' in text
            assert "hami_node_slice_publishes_total 1.0" in text
            kubelet.close()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()


def test_without_a_driver_it_stops_with_one_line(folder: Path, kube: FakeKube) -> None:
    with serving(kube, folder):
        done = subprocess.run(
            COMMAND, env=environment(folder), capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("hami: libnvidia-ml.so.1 is not below /run/nvidia/driver")
    assert len(done.stderr.splitlines()) == 1


def test_its_metrics_tell_the_shares_and_cards_of_the_node(
    folder: Path, driver_root: Path, kube: FakeKube, config: Config, add: Add
) -> None:
    metrics = free_port()
    variables = environment(
        folder,
        HAMI_HEALTH_PORT="0",
        HAMI_METRICS_PORT=str(metrics),
        HAMI_POD_RESOURCES_SOCKET=str(folder / "no-kubelet.sock"),
        HAMI_AUDIT="warn",
    )
    with serving(kube, folder), subprocess.Popen(COMMAND, env=variables) as process:
        try:
            kubelet = Kubelet(config.registry)
            kubelet.register()

            def page() -> str:
                with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=60) as answer:
                    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
                    text: str = answer.read().decode()
                    return text

            assert "hami_vgpu_memory_used_bytes{" not in page()
            body = add(claim("half", share()))
            assert kubelet.prepare(body)[body["metadata"]["uid"]].error == ""
            share_id = body["status"]["allocation"]["devices"]["results"][0]["shareID"]
            (used,) = [
                line for line in page().splitlines() if line.startswith("hami_vgpu_memory_used_bytes{")
            ]
            assert f'share="{share_id}"' in used
            assert used.endswith(" 0")
            assert 'hami_host_gpu_temperature_celsius{node="ecs-a10-sh",device_index="0",' in page()
            until(lambda: f'hami_audit_rounds_total{{node="{NODE}"}} 0' not in page())
            kubelet.unprepare(body)
            assert "hami_vgpu_memory_used_bytes{" not in page()
            kubelet.close()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)

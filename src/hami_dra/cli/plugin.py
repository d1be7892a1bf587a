"""`hami plugin`: the DRA kubelet plugin, run by the DaemonSet."""

from __future__ import annotations

import faulthandler
import gc
import signal
from pathlib import Path
from typing import Any

import click
import structlog

from hami_dra import log, native_files
from hami_dra.cli import options
from hami_dra.devices import families
from hami_dra.devices.driver_root import DriverRoot
from hami_dra.devices.host import Host
from hami_dra.devices.nvidia import NvidiaBackend
from hami_dra.devices.nvidia_health import IGNORED_XIDS
from hami_dra.devices.nvidia_readings import NvidiaReadings
from hami_dra.kube import Client, KubeClient
from hami_dra.listening import listen
from hami_dra.model.errors import UserError
from hami_dra.model.names import DRIVER
from hami_dra.node import order
from hami_dra.node.checkpoint import Checkpoint
from hami_dra.node.plugin import Config, Plugin
from hami_dra.node.process import Member, Process
from hami_dra.observe.auditor import Auditor
from hami_dra.observe.device_usage import DeviceUsage
from hami_dra.observe.kubelet import PodResources
from hami_dra.observe.node_usage import NodeUsage

_FOLDER = click.Path(path_type=Path)


@click.command()
@click.option("--node-name", envvar="HAMI_NODE_NAME", required=True, help="Node that this plugin serves.")
@click.option("--pod-uid", envvar="HAMI_POD_UID", default="", help="Own Pod's uid, part of the socket names.")
@click.option(
    "--driver-root", envvar="HAMI_DRIVER_ROOT", type=_FOLDER, default="/", help="The driver's files, here."
)
@click.option(
    "--host-driver-root",
    envvar="HAMI_HOST_DRIVER_ROOT",
    type=_FOLDER,
    help="The same folder on the host (default: --driver-root).",
)
@click.option(
    "--state-dir", envvar="HAMI_STATE_DIR", type=_FOLDER, default="/var/lib/hami", show_default=True
)
@options.limiter_dir
@click.option("--cdi-dir", envvar="HAMI_CDI_DIR", type=_FOLDER, default="/var/run/cdi", show_default=True)
@click.option(
    "--cdi-static-dir", envvar="HAMI_CDI_STATIC_DIR", type=_FOLDER, default="/etc/cdi", show_default=True
)
@click.option(
    "--plugins-dir", envvar="HAMI_KUBELET_PLUGINS_DIR", type=_FOLDER, default="/var/lib/kubelet/plugins"
)
@click.option(
    "--registry-dir",
    envvar="HAMI_KUBELET_REGISTRY_DIR",
    type=_FOLDER,
    default="/var/lib/kubelet/plugins_registry",
)
@options.families("Families to serve: nvidia, amd, ascend, ...")
@click.option("--root", envvar="HAMI_ROOT", type=_FOLDER, default="/", help="The host's root, here.")
@click.option(
    "--host-root",
    envvar="HAMI_HOST_ROOT",
    type=_FOLDER,
    default="/",
    help="The same folder on the host: /, or the root of a simulated host.",
)
@click.option("--limiter", envvar="HAMI_LIMITER", type=_FOLDER, help="libvgpu.so (default: the one shipped).")
@click.option(
    "--ignored-xids",
    envvar="HAMI_IGNORED_XIDS",
    default=",".join(map(str, sorted(IGNORED_XIDS))),
    show_default=True,
    help="XID errors that leave a card healthy: those that programs cause.",
)
@click.option(
    "--publish-serial/--no-publish-serial",
    envvar="HAMI_PUBLISH_SERIAL",
    default=False,
    help="Also publish the serial numbers of cards.",
)
@click.option(
    "--dynamic-mig/--no-dynamic-mig",
    envvar="HAMI_DYNAMIC_MIG",
    default=False,
    help="Cut cards in MIG mode on demand; needs the feature gate DRAPartitionableDevices.",
)
@click.option(
    "--card-policy",
    envvar="HAMI_CARD_POLICY",
    type=click.Choice(order.POLICIES),
    default=order.FIRST,
    show_default=True,
    help="Card that the scheduler tries first: by number, the fullest, or the emptiest.",
)
@options.port("--health-port", "HEALTH_PORT", 51516, may_be_off=True)
@options.port("--metrics-port", "METRICS_PORT", 8080, may_be_off=True)
@click.option(
    "--pod-resources",
    envvar="HAMI_POD_RESOURCES_SOCKET",
    type=_FOLDER,
    default="/var/lib/kubelet/pod-resources/kubelet.sock",
    help="Socket on which kubelet says which container has which share.",
)
@click.option(
    "--legacy-metrics/--no-legacy-metrics",
    envvar="HAMI_LEGACY_METRICS",
    default=True,
    show_default=True,
    help="Also the older metric names.",
)
@click.option(
    "--audit",
    envvar="HAMI_AUDIT",
    type=click.Choice(["none", "warn", "stop"]),
    default="none",
    show_default=True,
    help="What to do with a process that goes past the limiter; needs the host's PID namespace.",
)
@options.service
def plugin(**given: Any) -> None:
    """Serve the DRA kubelet plugin of this node until SIGTERM."""
    log.configure(given["log_level"], given["log_format"])
    faulthandler.register(signal.SIGUSR2)  # prints every thread's stack, and goes on
    config = Config(
        node=given["node_name"],
        pod_uid=given["pod_uid"],
        state=given["state_dir"],
        limiter=given["limiter"] or native_files.find("libvgpu.so"),
        limiter_folder=given["limiter_dir"] or given["state_dir"] / "lib",
        cdi=given["cdi_dir"],
        plugins=given["plugins_dir"],
        registry=given["registry_dir"],
        card_policy=given["card_policy"],
        health_port=given["health_port"],
        metrics_port=given["metrics_port"],
    )
    for port in filter(None, (config.health_port, config.metrics_port)):
        listen(port).close()  # one that is taken is told in our words, before anything is done
    kube = Client.from_environment(given["kubeconfig"])
    wanted: list[str] = given["families"]
    members, refused = _members(wanted, config, given, kube)
    if wanted == [families.NVIDIA]:
        (only,) = members
        serve(Plugin(config, kube, only.backend, metrics=only.metrics, parts=only.parts))
    else:
        others = [each for each in members if each.backend.driver != DRIVER]
        usage = DeviceUsage(
            config.node,
            [each.backend for each in others],
            [Checkpoint(each.state / "checkpoint.json").shares for each in others],
            PodResources(given["pod_resources"]).grants,
        )
        serve(Process(config, kube, members, usage.text, refused))


def _members(
    wanted: list[str], config: Config, given: dict[str, Any], kube: KubeClient
) -> tuple[list[Member], list[str]]:
    """The families that are served, and what is refused: a bad profile stops no other family."""
    members = [_nvidia(config, given, kube)] if families.NVIDIA in wanted else []
    others = [name for name in wanted if name != families.NVIDIA]
    good, refused = families.profiles(others, given["profiles_dir"])
    for problem in refused:
        structlog.get_logger(__name__).error("profile refused", error=str(problem))
    for backend in families.backends(good, _host(given)):
        members.append(Member(backend, config.state / "families" / backend.driver))
    if refused and not members:
        raise refused[0]
    return members, [str(problem) for problem in refused]


def _nvidia(config: Config, given: dict[str, Any], kube: KubeClient) -> Member:
    root: Path = given["driver_root"]
    driver_root = DriverRoot(root, given["host_driver_root"] or root)
    backend = NvidiaBackend(
        driver_root,
        cdi=(given["cdi_static_dir"], given["cdi_dir"]),
        ignored_xids=_numbers(given["ignored_xids"]),
        serial=given["publish_serial"],
        partitions=config.state / "mig-instances.json" if given["dynamic_mig"] else None,
    )
    readings = NvidiaReadings(driver_root)
    grants = PodResources(given["pod_resources"]).grants
    usage = NodeUsage(config.node, config.state, readings, grants, legacy=given["legacy_metrics"])
    auditor = Auditor(config.node, given["audit"], readings, usage.sample, grants, usage.book, kube)

    def metrics() -> str:
        return usage.text() + "".join(auditor.text())

    return Member(backend, config.state, metrics, {"audit": auditor.run})


def _host(given: dict[str, Any]) -> Host:
    """The host's root; a root that is elsewhere on the host is a simulated one, whose programs run here."""
    root = DriverRoot(given["root"], given["host_root"])
    return Host(root, simulated=given["host_root"] != Path("/"))


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in options.listed(text)]
    except ValueError as problem:
        raise UserError(
            f"{text!r} is no list of numbers", where="--ignored-xids", fix="Write for example 13,31,43"
        ) from problem


def serve(instance: Plugin | Process) -> None:
    """Run INSTANCE until SIGTERM or SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: instance.end())
    instance.start()
    gc.freeze()  # what is there now stays: looking through it took 50 ms, in which kubelet waits
    try:
        instance.wait()
    finally:
        instance.stop()

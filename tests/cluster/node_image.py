"""The kind node image: Debian with systemd, containerd, Kubernetes and the images that kubeadm asks for.

Kubernetes, etcd and CoreDNS come from the Go module proxy (`go_programs`), the rest from Debian
(`debian`). What kind expects of a node image is listed in docs/adr/0003-own-kind-node-image.md.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from . import debian, go_programs, image_archive, podman, versions
from .progress import run, step

HERE = Path(__file__).parent / "node"

NODE_PACKAGES = (
    *("systemd-sysv", "dbus", "python3", "runc", "procps", "util-linux", "mount", "kmod", "hostname"),
    *("iptables", "nftables", "iproute2", "conntrack", "ethtool", "socat", "ca-certificates"),
)
NETWORK_PACKAGES = (
    "python3-minimal",
    "libpython3.11-stdlib",
    "iptables",
    "nftables",
    "conntrack",
    "iproute2",
)
NOISE = (
    *("getty@.service", "console-getty.service", "getty.target", "systemd-udevd.service"),
    # Each takes one of the inotify instances that a user has on a machine, 128 where nobody raised it.
    *("systemd-logind.service", "systemd-ask-password-console.path", "systemd-ask-password-wall.path"),
)
"""Units that a node has no use for."""
CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")


def tools() -> Path:
    """Folder with the programs unpacked from Debian's newest suite: containerd, kind, kubectl, CNI."""
    into = versions.CACHE / "tools" / versions.digest("tools", versions.TOOLS_SUITE, "1")
    if into.is_dir():
        return into
    partial = into.with_name(into.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with step("fetch containerd, CNI plugins, kubectl and kind from Debian", "20 s"):
        packages = ("containerd", "containernetworking-plugins", "kubectl", "kind")
        debian.unpack(packages, versions.TOOLS_SUITE, partial)
    partial.rename(into)
    return into


def tag(release: versions.Kubernetes) -> str:
    """Name of the node image for RELEASE made by this recipe."""
    recipe = versions.digest(
        HERE,
        Path(__file__),
        Path(image_archive.__file__),
        *NODE_PACKAGES,
        *NETWORK_PACKAGES,
        repr(release),
        versions.ETCD,
        versions.COREDNS,
    )
    return f"localhost/hami-dra/kind-node:v{release.version}-{recipe}"


def build(release: versions.Kubernetes) -> str:
    """Return the tag of the node image, building what the caches lack."""
    name = tag(release)
    if podman.image_exists(name):
        return name
    kubernetes = go_programs.build(go_programs.kubernetes(release))
    etcd = go_programs.build(go_programs.ETCD)
    coredns = go_programs.build(go_programs.COREDNS)
    unpacked = tools()
    base = debian.root_file_system("node", NODE_PACKAGES)
    network_base = debian.root_file_system("network", NETWORK_PACKAGES)

    work = versions.CACHE / "node-image.partial"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    with step("assemble the kind node image", "1 min") as running:
        root = work / "root"
        root.mkdir()
        run(["tar", "-C", root, "--exclude=./dev/*", "-xf", base])
        running.note("packing the control plane's images")
        archive = root / "kind/images/kubernetes.tar"
        archive.parent.mkdir(parents=True)
        image_archive.pack(_images(release, kubernetes, etcd, coredns, network_base, work), archive)
        running.note("laying out the root file system")
        _lay_out(root, release, kubernetes, unpacked)
        running.note("importing it into podman")
        tar = work / "node.tar"
        run(["tar", "-C", root, "-cf", tar, "."])
        changes = (
            'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]',
            "ENV container=podman",
            "STOPSIGNAL SIGRTMIN+3",
        )
        podman.import_image(tar, name, changes)
    shutil.rmtree(work)
    return name


def _images(
    release: versions.Kubernetes, kubernetes: Path, etcd: Path, coredns: Path, network: Path, work: Path
) -> list[image_archive.Image]:
    registry = "registry.k8s.io"
    pause = work / "pause"
    run(["gcc", "-static", "-Os", "-o", pause, HERE / "pause.c"])
    images = [
        image_archive.Image(
            f"{registry}/{name}:v{release.version}", {f"/usr/local/bin/{name}": kubernetes / name}
        )
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
    ]
    return [
        *images,
        image_archive.Image(
            f"{registry}/kube-proxy:v{release.version}",
            {"/usr/local/bin/kube-proxy": kubernetes / "kube-proxy"},
            base=network,
        ),
        image_archive.Image(
            "localhost/hami-dra/network-agent:local",
            {"/usr/local/bin/network-agent": HERE / "network_agent.py"},
            ("/usr/local/bin/network-agent",),
            base=network,
        ),
        image_archive.Image(f"{registry}/etcd:{release.etcd_tag}", {"/usr/local/bin/etcd": etcd / "etcd"}),
        image_archive.Image(
            f"{registry}/coredns/coredns:{release.coredns_tag}",
            {"/coredns": coredns / "coredns"},
            ("/coredns",),
        ),
        image_archive.Image(f"{registry}/pause:{release.pause_tag}", {"/pause": pause}, ("/pause",)),
    ]


def _lay_out(root: Path, release: versions.Kubernetes, kubernetes: Path, unpacked: Path) -> None:
    """Put programs, units and configuration where kind, kubeadm and systemd look for them."""
    programs = [kubernetes / "kubelet", kubernetes / "kubeadm"]
    programs += [unpacked / "usr/bin" / name for name in ("kubectl", "containerd", "ctr")]
    programs += [unpacked / "usr/bin/containerd-shim-runc-v2", HERE / "entrypoint", HERE / "load-node-images"]
    for program in programs:
        _install(program, root / "usr/local/bin" / program.name, 0o755)
    for plugin in CNI_PLUGINS:
        _install(unpacked / "usr/lib/cni" / plugin, root / "opt/cni/bin" / plugin, 0o755)

    wanted = root / "etc/systemd/system/multi-user.target.wants"
    wanted.mkdir(parents=True, exist_ok=True)
    for unit in sorted((HERE / "units").iterdir()):
        _install(unit, root / "etc/systemd/system" / unit.name, 0o644)
        (wanted / unit.name).symlink_to(f"/etc/systemd/system/{unit.name}")
    for noise in NOISE:
        (root / "etc/systemd/system" / noise).symlink_to("/dev/null")
    (root / "etc/systemd/system/default.target").symlink_to("/lib/systemd/system/multi-user.target")

    config = (HERE / "containerd.toml").read_text()
    config = config.replace("@PAUSE_IMAGE@", f"registry.k8s.io/pause:{release.pause_tag}")
    _write(root / "etc/containerd/config.toml", config)
    _write(root / "kind/version", f"v{release.version}")
    for manifest in ("default-cni.yaml", "default-storage.yaml"):
        _install(HERE / manifest, root / "kind/manifests" / manifest, 0o644)
    for folder in ("etc/cni/net.d", "etc/kubernetes/manifests", "var/lib/kubelet"):
        (root / folder).mkdir(parents=True, exist_ok=True)


def _install(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _write(target: Path, text: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)

"""Programs that are built from the Go module proxy: Kubernetes, etcd, CoreDNS, Helm.

Each is a package of a released module, compiled as it is. `go install pkg@version` refuses modules
with `replace` lines (Kubernetes, etcd), so each group gets a small module of its own that requires
the release; Kubernetes' staging modules are pinned to the matching v0 release.

A machine without Go gets Debian's, unpacked into the cache.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import debian, versions
from .progress import run, step


@dataclass(frozen=True)
class GoGroup:
    """Binaries that are built together from one module release."""

    name: str
    module: str
    version: str
    packages: tuple[str, ...]
    ldflags: str = ""
    usually: str = "2 min"
    own: Path | None = None
    """Folder of a main package of ours that uses the module; its program has the folder's name."""

    @property
    def folder(self) -> Path:
        own = [self.own] if self.own else []
        recipe = versions.digest(self.ldflags, *self.packages, *own)
        return versions.CACHE / "go" / f"{self.name}-{self.version}-{recipe}"


def kubernetes(release: versions.Kubernetes) -> GoGroup:
    major, minor, _ = release.version.split(".")
    stamp = {
        "k8s.io/component-base/version.gitVersion": f"v{release.version}",
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/client-go/pkg/version.gitVersion": f"v{release.version}",
    }
    commands = "kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubeadm"
    return GoGroup(
        name="kubernetes",
        module="k8s.io/kubernetes",
        version=f"v{release.version}",
        packages=tuple(f"k8s.io/kubernetes/cmd/{name}" for name in commands.split()),
        ldflags=" ".join(f"-X {key}={value}" for key, value in stamp.items()),
        usually="12 min on 2 cores",
    )


ETCD = GoGroup(
    name="etcd",
    module="go.etcd.io/etcd/server/v3",
    version=f"v{versions.ETCD}",
    packages=("go.etcd.io/etcd/server/v3",),
)
COREDNS = GoGroup(
    name="coredns",
    module="github.com/coredns/coredns",
    version=f"v{versions.COREDNS}",
    packages=("github.com/coredns/coredns",),
    usually="4 min",
)
HELM = GoGroup(
    name="helm",
    module="helm.sh/helm/v3",
    version=f"v{versions.HELM}",
    packages=("helm.sh/helm/v3/cmd/helm",),
    # The Kubernetes version that `helm template` assumes, which a plain build leaves at v1.20.
    ldflags=f"-X helm.sh/helm/v3/internal/version.version=v{versions.HELM}"
    " -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1"
    " -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=36",
    usually="3 min",
)

EXAMPLE_DRIVER = GoGroup(
    name="dra-example-driver",
    module="sigs.k8s.io/dra-example-driver",
    version=f"v{versions.EXAMPLE_DRIVER}",
    packages=("sigs.k8s.io/dra-example-driver/cmd/dra-example-kubeletplugin",),
    usually="3 min",
)


def kubelet_dra(release: versions.Kubernetes) -> GoGroup:
    """kubelet's plugin and DRA managers under a command line of ours."""
    return GoGroup(
        name="kubelet-dra",
        module="k8s.io/kubernetes",
        version=f"v{release.version}",
        packages=(),
        usually="3 min",
        own=versions.REPO / "tests/support/kubelet_dra",
    )


def go() -> Path:
    """The `go` command of this machine, or else of Debian.

    One from before 1.21 counts as none: it cannot fetch a newer one when a module asks for it.
    """
    here = shutil.which("go")
    if here and re.search(r"go1\.(2[1-9]|[3-9]\d)", run([here, "version"])):
        return Path(here)
    folder = versions.CACHE / f"go-{versions.GO_IN_SUITE}-{versions.GO_SUITE}"
    if not folder.is_dir():
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with step(f"fetch Go {versions.GO_IN_SUITE} from Debian {versions.GO_SUITE}", "10 s"):
            packages = (f"golang-{versions.GO_IN_SUITE}-go", f"golang-{versions.GO_IN_SUITE}-src")
            debian.unpack(packages, versions.GO_SUITE, partial)
        partial.rename(folder)
    return folder / f"usr/lib/go-{versions.GO_IN_SUITE}/bin/go"


def build(group: GoGroup) -> Path:
    """Return the folder with the group's binaries, building them when the cache has none."""
    done = group.folder / "bin"
    if done.is_dir():
        return done
    source = group.folder / "module"
    partial = group.folder / "bin.partial"
    shutil.rmtree(group.folder, ignore_errors=True)
    source.mkdir(parents=True)
    partial.mkdir()
    title = f"build {group.name} {group.version} from the Go module proxy"
    with step(title, group.usually) as running:
        running.note("resolving modules")
        _write_module(group, source)
        compiled = 0

        def count(line: str) -> None:
            nonlocal compiled
            if line.startswith("go: downloading"):
                running.note(line.removeprefix("go: "))
            elif line and not line.startswith("go:"):
                compiled += 1
                running.note(f"{compiled} packages compiled")

        run(
            [go(), "build", "-v", "-trimpath", "-ldflags", f"-s -w {group.ldflags}"]
            + ["-o", f"{partial}/", *group.packages, *([f"./{group.own.name}"] if group.own else [])],
            cwd=source,
            env=_environment(),
            on_line=count,
        )
        for binary in partial.iterdir():
            # A module's root package is named after its major version (`v3`); use the group's name.
            if re.fullmatch(r"v\d+|server", binary.name):
                binary.rename(binary.with_name(group.name))
    partial.rename(done)
    return done


def _write_module(group: GoGroup, source: Path) -> None:
    lines = ["module hami-dra.local/testcluster", "", "go 1.25", f"toolchain go{versions.GO}", ""]
    lines.append(f"require {group.module} {group.version}")
    if group.module == "k8s.io/kubernetes":
        staging_version = "v0." + group.version.removeprefix("v1.")
        for module in _staging_modules(group):
            lines.append(f"replace {module} => {module} {staging_version}")
    (source / "go.mod").write_text("\n".join(lines) + "\n")
    if group.own:
        shutil.copytree(group.own, source / group.own.name)
    imports = "\n".join(f'import _ "{package}"' for package in group.packages)
    (source / "tools.go").write_text(f"//go:build tools\n\npackage tools\n\n{imports}\n")


def _staging_modules(group: GoGroup) -> list[str]:
    """Modules that Kubernetes requires at v0.0.0, which only its own source tree can resolve."""
    scratch = group.folder / "module"
    answer = run(
        [go(), "mod", "download", "-json", f"{group.module}@{group.version}"],
        cwd=scratch,
        env=_environment() | {"GOWORK": "off"},
    )
    text = Path(json.loads(answer)["GoMod"]).read_text()
    return sorted(set(re.findall(r"^\s*(k8s\.io/\S+) v0\.0\.0$", text, flags=re.MULTILINE)))


def _environment() -> dict[str, str]:
    """With a home, where Go keeps its modules: a service of systemd's has none."""
    needed = {"HOME": str(Path.home()), "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -mod=mod"}
    return dict(os.environ) | needed

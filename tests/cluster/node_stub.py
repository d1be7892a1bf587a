#!/usr/bin/env python3
"""Stands in for kubelet, control plane, k3s and rke2 on a molecule node: reads their files, answers metrics.

    node-stub kubeadm   every static Pod of /etc/kubernetes/manifests becomes a component on its port
    node-stub k3s       one process with all components, from /etc/rancher/k3s/config.yaml and its drop-ins
    node-stub rke2      the same of /etc/rancher/rke2
    node-stub k3s-agent, rke2-agent    the kubelet alone

A component whose gates do not go together does not come up and says so in its log, as the real one does.
The API server holds ConfigMaps in /var/lib/node-stub. Standard library only: it runs in the node.
"""

import http.server
import json
import re
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

GATE, NEEDED = "DRAConsumableCapacity", "DynamicResourceAllocation"
"""The gate that the rollout is about, and the one that it depends on from Kubernetes 1.35."""
KNOWN_GATES = {GATE: 0, NEEDED: 1, "InPlacePodVerticalScaling": 1}
"""As in Kubernetes 1.35: name and whether it is on by default."""

MANIFESTS = Path("/etc/kubernetes/manifests")
KUBELET_CONFIG = Path("/var/lib/kubelet/config.yaml")
RANCHER = Path("/etc/rancher")
STORE = Path("/var/lib/node-stub")
LOGS = Path("/var/log/pods")
PORTS = {"kube-apiserver": 6443, "kube-controller-manager": 10257, "kube-scheduler": 10259}

APPS = {"groupVersion": "apps/v1", "version": "v1"}
DISCOVERY = {
    "/version": {"major": "1", "minor": "35", "gitVersion": "v1.35.4"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [{"name": "apps", "versions": [APPS], "preferredVersion": APPS}],
    },
    "/apis/apps/v1": {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "apps/v1",
        "resources": [{"name": "daemonsets", "kind": "DaemonSet", "namespaced": True, "verbs": ["list"]}],
    },
    "/apis/apps/v1/daemonsets": {"kind": "DaemonSetList", "apiVersion": "apps/v1", "items": []},
    "/apis/resource.k8s.io/v1": {"kind": "APIResourceList", "apiVersion": "v1", "resources": []},
}
"""What preflight asks the API server for."""


class WrongGates(Exception):
    """What kube components print and end with."""


def gates(values):
    """The gates in effect for the values of all --feature-gates flags."""
    state = dict(KNOWN_GATES)
    for pair in ",".join(values).split(","):
        name, _, value = pair.partition("=")
        if not name:
            continue
        if name not in KNOWN_GATES:
            raise WrongGates(f"invalid argument for --feature-gates flag: unrecognized feature gate: {name}")
        state[name] = int(value == "true")
    if state[GATE] and not state[NEEDED]:
        raise WrongGates(f"{GATE} is enabled, but depends on features that are disabled: [{NEEDED}]")
    return state


def metrics(state):
    """The lines of /metrics that tell a component's gates."""
    line = 'kubernetes_feature_enabled{name="NAME",stage="ALPHA"} '
    return "".join(f"{line.replace('NAME', name)}{on}\n" for name, on in sorted(state.items()))


class Component:
    """One component: an HTTPS server with its gates, or a log that says why there is none."""

    def __init__(self, name, port, values):
        self.name = name
        self.server = None
        try:
            state = gates(values)
        except WrongGates as problem:
            folder = LOGS / f"kube-system_{name}-node_0123/{name}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "0.log").write_text(f"2026-01-01T00:00:00Z stderr F Error: {problem}\n")
            raise
        handler = type("Handler", (Handler,), {"state": state})
        self.server = http.server.ThreadingHTTPServer(("0.0.0.0", port), handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(STORE / "tls.pem")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    """The few paths that the roles ask for."""

    def do_GET(self):
        self.path = self.path.partition("?")[0]
        # The controller manager has no /livez.
        if self.path in ("/readyz", "/healthz"):
            return self.answer("ok")
        if self.path == "/metrics":
            return self.answer(metrics(self.state))
        if self.path in DISCOVERY:
            return self.answer(json.dumps(DISCOVERY[self.path]))
        if found := re.fullmatch(r"/api/v1/nodes/([^/]+)/proxy/metrics", self.path):
            address = json.loads((STORE / "hosts.json").read_text())[found[1]]
            unverified = ssl._create_unverified_context()
            try:
                with urllib.request.urlopen(f"https://{address}:10250/metrics", context=unverified) as answer:
                    return self.answer(answer.read().decode())
            except OSError as problem:
                return self.send_error(503, str(problem))
        if re.fullmatch(r"/api/v1/nodes/[^/]+", self.path):
            ready = {"type": "Ready", "status": "True"}
            name = self.path.rpartition("/")[2]
            node = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}}
            return self.answer(json.dumps(node | {"status": {"conditions": [ready]}}))
        file = STORE / f"{self.path.rpartition('/')[2]}.json"
        return self.answer(file.read_text()) if file.is_file() else self.send_error(404)

    def do_PUT(self):
        path, _, query = self.path.partition("?")
        body = self.body()
        if query != "dryRun=All":
            (STORE / f"{path.rpartition('/')[2]}.json").write_bytes(body)
        self.answer(body.decode())

    def body(self):
        """What was sent; `kubectl replace --raw` sends it in chunks."""
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def answer(self, text):
        kind = "application/json" if text.startswith("{") else "text/plain"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def certificate():
    """A certificate of our own, as kube-scheduler makes one."""
    STORE.mkdir(parents=True, exist_ok=True)
    if not (STORE / "tls.pem").exists():
        command = "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=node-stub"
        pem, crt = STORE / "tls.pem", STORE / "tls.crt"
        subprocess.run([*command.split(), "-keyout", pem, "-out", crt], check=True, capture_output=True)
        pem.write_text(pem.read_text() + crt.read_text())


def kubelet_values():
    """The gates of the kubelet's configuration file, as values of a flag."""
    text = KUBELET_CONFIG.read_text() if KUBELET_CONFIG.exists() else ""
    block = re.search(r"^featureGates:\n((?:  .*\n?)+)", text, re.MULTILINE)
    found = re.findall(r"^ +(\w+): (true|false)", block[1] if block else "", re.MULTILINE)
    return [f"{name}={value}" for name, value in found]


def kubeadm():
    """Follow the manifests as kubelet does: every file whose name does not begin with a dot."""
    Component("kubelet", 10250, kubelet_values())
    running = {}
    MANIFESTS.mkdir(parents=True, exist_ok=True)
    while True:
        found = {}
        for file in MANIFESTS.iterdir():
            if not file.name.startswith("."):
                try:
                    found[file.name] = file.read_text()
                except FileNotFoundError:
                    continue
        for name in [name for name in running if running[name][0] != found.get(name)]:
            if running[name][1]:
                running[name][1].stop()
            del running[name]
        for name, text in found.items():
            if name not in running:
                component = re.search(r"- (kube-[a-z-]+)$", text, re.MULTILINE)[1]
                values = re.findall(r"--feature-gates=(\S+)", text)
                try:
                    running[name] = text, Component(component, PORTS[component], values)
                except (WrongGates, OSError) as problem:
                    print(name, problem, flush=True)
                    running[name] = text, None
        time.sleep(0.2)


def rancher(kind):
    """A server's components or an agent's kubelet in one process; it ends when one does not come up."""
    distribution, _, agent = kind.partition("-")
    folder = RANCHER / distribution
    files = [folder / "config.yaml", *sorted((folder / "config.yaml.d").glob("*.yaml"))]
    lines = "".join(file.read_text() for file in files if file.exists()).splitlines()
    arguments, key = {}, ""
    for line in lines:
        if found := re.match(r"([a-z-]+-arg)\+?:", line):
            key = found[1]
        elif found := re.match(r"\s*- feature-gates=(\S+)", line):
            arguments.setdefault(key, []).append(found[1])
    Component("kubelet", 10250, arguments.get("kubelet-arg", []))
    # Of k3s the API server's own port, and the supervisor's, which kubeconfigs name.
    ports = [] if agent else [*PORTS.items(), *([("kube-apiserver", 6444)] if distribution == "k3s" else [])]
    for name, port in ports:
        Component(name, port, arguments.get(f"{name}-arg", []))
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    certificate()
    if sys.argv[1] == "kubeadm":
        kubeadm()
    else:
        rancher(sys.argv[1])

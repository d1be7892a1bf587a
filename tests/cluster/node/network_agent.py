#!/usr/bin/python3
"""The cluster's network, one of these on each node: a bridge for Pods, a route to every other node.

Reads the nodes from the API with the Pod's service account. The CNI configuration is renamed into
place last, because its presence is what makes the node Ready.
"""

import ipaddress
import json
import os
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
CONFIG = Path("/etc/cni/net.d/10-bridge.conflist")
INTERVAL_S = 5.0


def nodes() -> list[dict]:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    request = urllib.request.Request(
        f"https://{host}:{port}/api/v1/nodes",
        headers={"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}"},
    )
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:
        return json.load(answer)["items"]


def internal_address(node: dict) -> str:
    for entry in node["status"]["addresses"]:
        if entry["type"] == "InternalIP" and ipaddress.ip_address(entry["address"]).version == 4:
            return entry["address"]
    raise LookupError(f"node {node['metadata']['name']} has no IPv4 address yet")


def configure_pods(cidr: str) -> None:
    config = {
        "cniVersion": "1.0.0",
        "name": "bridge",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": cidr}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    text = json.dumps(config, indent=2)
    if not CONFIG.is_file() or CONFIG.read_text() != text:
        temporary = CONFIG.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.rename(CONFIG)


def masquerade(pods: str) -> None:
    rule = ["POSTROUTING", "-s", pods, "!", "-d", pods, "-j", "MASQUERADE"]
    if subprocess.run(["iptables", "-t", "nat", "-C", *rule], capture_output=True).returncode:
        subprocess.run(["iptables", "-t", "nat", "-A", *rule], check=True)


def converge(own_name: str, cluster_cidr: str) -> None:
    for node in nodes():
        cidr = node["spec"].get("podCIDR")
        if not cidr:
            continue
        if node["metadata"]["name"] == own_name:
            masquerade(cluster_cidr)
            configure_pods(cidr)
        else:
            route = ["ip", "route", "replace", cidr, "via", internal_address(node)]
            subprocess.run(route, check=True)


def main() -> None:
    while True:
        try:
            converge(os.environ["NODE_NAME"], os.environ["CLUSTER_CIDR"])
        except Exception as problem:  # the network agent must outlive every hiccup of the API
            print(f"network agent: {problem}", flush=True)
        time.sleep(INTERVAL_S)


main()

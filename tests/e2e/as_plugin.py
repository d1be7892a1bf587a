"""What the API server answers a node's plugin: asked in the real Pod, with its own token, on a dry run."""

from __future__ import annotations

import json

from tests.cluster.cluster import Cluster
from tests.e2e.kubectl import Kubectl, Object

PROGRAM = """
import json, os, ssl, sys, urllib.error, urllib.request
method, path, body = sys.argv[1:]
account = "/var/run/secrets/kubernetes.io/serviceaccount/"
server = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
content = "application/merge-patch+json" if method == "PATCH" else "application/json"
request = urllib.request.Request(
    f"{server}/apis/resource.k8s.io/v1/{path}?dryRun=All",
    data=body.encode(),
    method=method,
    headers={"Authorization": "Bearer " + open(account + "token").read(), "Content-Type": content},
)
try:
    answer = urllib.request.urlopen(request, context=ssl.create_default_context(cafile=account + "ca.crt"))
    print(answer.status)
except urllib.error.HTTPError as refused:
    print(refused.code, json.load(refused)["message"])
"""


def ask_as_plugin(cluster: Cluster, node: str, method: str, path: str, body: Object) -> str:
    """The answer's code, and the message of a refusal; PATH below the API group of claims and slices."""
    system = Kubectl(cluster, "hami-system")
    [plugin] = [
        item["metadata"]["name"]
        for item in system.list("pods", "-l", "app.kubernetes.io/component=driver")
        if item["spec"]["nodeName"] == node and "deletionTimestamp" not in item["metadata"]
    ]
    return system("exec", plugin, "--", "python3", "-c", PROGRAM, method, path, json.dumps(body)).strip()

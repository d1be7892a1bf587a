"""A cluster in which all is well, as objects in a `FakeKube`; tests break one thing of it."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
from typing import Any

import msgspec

from hami_dra.admission import authority
from hami_dra.kube import kinds
from hami_dra.model.names import CONVERTED_LABEL, DRIVER, MANAGED_BY
from hami_dra.ops.node_facts import DriverFacts, NodeFacts
from tests.support.fake_kube import FakeKube

NODES = ("gpu-a", "gpu-b")
NAMESPACE = "hami-system"
NPU = "ascend.project-hami.io"
NPU_NODE = "npu-a"
NOW = datetime.datetime.now(datetime.UTC)
SERVICE = f"hami-hami-dra-webhook.{NAMESPACE}.svc"
GATES = 'kubernetes_feature_enabled{name="DRAConsumableCapacity",stage="BETA"} 1\n'
IMAGE = "ghcr.io/hami-dra/hami-dra:0.1.0"

Object = dict[str, Any]


def ago(**time: float) -> str:
    """A time in the API's form."""
    return (NOW - datetime.timedelta(**time)).strftime("%Y-%m-%dT%H:%M:%SZ")


def labels(component: str) -> Object:
    return {"app.kubernetes.io/name": "hami-dra", "app.kubernetes.io/component": component}


def node(name: str, runtime: str = "containerd://2.1.4", kubelet: str = "v1.36.0", **more: str) -> Object:
    info = {"containerRuntimeVersion": runtime, "kubeletVersion": kubelet}
    return {
        "metadata": {"name": name, "labels": {"gpu": "on"} | more},
        "status": {"nodeInfo": info, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def lease(name: str, skew_s: float = 0) -> Object:
    renewed = (NOW + datetime.timedelta(seconds=skew_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    fields = [{"manager": "kubelet", "time": ago(seconds=0)}]
    return {"metadata": {"name": name, "managedFields": fields}, "spec": {"renewTime": renewed}}


def device(minor: int = 0, **changes: Any) -> Object:
    attributes = {
        "type": {"string": "hami-gpu"},
        "uuid": {"string": f"GPU-{minor}"},
        "minor": {"int": minor},
        "productName": {"string": "NVIDIA A10"},
        "driverVersion": {"version": "550.144.3"},
    }
    capacity = {"memory": {"value": "23028Mi"}, "cores": {"value": "100"}}
    body = {"name": f"hami-gpu-{minor}", "attributes": attributes, "capacity": capacity}
    return body | {"allowMultipleAllocations": True} | changes


def slice_of(node_name: str, *devices: Object, generation: int = 1, count: int = 1) -> Object:
    pool = {"name": node_name, "generation": generation, "resourceSliceCount": count}
    spec = {"driver": DRIVER, "nodeName": node_name, "pool": pool, "devices": list(devices)}
    return {"metadata": {"name": f"{node_name}-{DRIVER}-{generation}"}, "spec": spec}


def workload(component: str, name: str, ready: int, image: str = IMAGE) -> Object:
    """A DaemonSet (`driver`) or Deployment of the chart."""
    env = (
        [{"name": "HAMI_CERT_SECRET", "value": "hami-hami-dra-webhook-tls"}] if component == "webhook" else []
    )
    spec: Object = {"containers": [{"name": component, "image": image, "env": env}]}
    if component == "driver":
        spec["nodeSelector"] = {"gpu": "on"}
    status = {"numberReady": ready, "desiredNumberScheduled": 2, "readyReplicas": ready}
    return {
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels(component)},
        "spec": {"replicas": 2, "template": {"spec": spec}},
        "status": status,
    }


def our_pod(component: str, node_name: str) -> Object:
    container = "plugin" if component in ("driver", "families") else component
    return {
        "metadata": {"name": f"{component}-{node_name}", "namespace": NAMESPACE, "labels": labels(component)},
        "spec": {"nodeName": node_name, "containers": [{"name": container, "image": IMAGE}]},
        "status": {"phase": "Running", "containerStatuses": [{"ready": True, "state": {"running": {}}}]},
    }


def facts_of(node_name: str, **changes: Any) -> str:
    """What `hami node-facts` prints on a healthy node."""
    return _printed(node_name, DRIVER, changes)


def npu_facts_of(node_name: str, **changes: Any) -> str:
    """The same of the plugin of the other families."""
    return _printed(node_name, NPU, changes)


def _printed(node_name: str, driver: str, changes: dict[str, Any]) -> str:
    of_driver = {each.name for each in dataclasses.fields(DriverFacts)} & changes.keys()
    plugin = DriverFacts(
        **{"answering": ["service", "registration"]} | {key: changes[key] for key in of_driver}
    )
    healthy = NodeFacts(node=node_name, drivers={driver: plugin}, kernel="6.1.0", free_mib=9000)
    others = {key: value for key, value in changes.items() if key not in of_driver}
    return msgspec.json.encode(dataclasses.replace(healthy, **others)).decode()


def certificate(now: datetime.datetime = NOW) -> authority.Bundle:
    return authority.renew(None, [SERVICE], now)


def webhook(ca: bytes, **annotations: str) -> Object:
    config = {"caBundle": base64.b64encode(ca).decode()} if ca else {}
    name = "hami-hami-dra-webhook"
    return {
        "metadata": {"name": name, "labels": labels("webhook"), "annotations": annotations},
        "webhooks": [{"name": "pods.hami.io", "clientConfig": config}],
    }


def secret(bundle: authority.Bundle) -> Object:
    data = {"tls.crt": base64.b64encode(bundle.serving.certificate).decode(), "tls.key": "cGxhbnRlZA=="}
    return {"metadata": {"name": "hami-hami-dra-webhook-tls", "namespace": NAMESPACE}, "data": data}


def user_pod(name: str, template: str = "") -> Object:
    source = (
        {"resourceClaimTemplateName": template} if template else {"resourceClaimName": f"default-{name}-c"}
    )
    return {
        "metadata": {"name": name, "namespace": "default", "labels": {CONVERTED_LABEL: "true"}},
        "spec": {"nodeName": NODES[0], "containers": [], "resourceClaims": [{"name": "gpu"} | source]},
        "status": {"phase": "Running"},
    }


def claim(
    name: str, owner_uid: str, *, memory: str = "10Gi", cores: str = "50", pool: str = NODES[0]
) -> Object:
    result = {
        "request": "gpu",
        "driver": DRIVER,
        "pool": pool,
        "device": "hami-gpu-0",
        "shareID": "6108e68f-a7ec-4a30-9782-634885c0c728",
        "consumedCapacity": {"memory": memory, "cores": cores},
    }
    owner = {"kind": "Pod", "apiVersion": "v1", "name": "train", "uid": owner_uid}
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": dict(MANAGED_BY),
            "creationTimestamp": ago(hours=3),
            "ownerReferences": [owner],
        },
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": {"deviceClassName": DRIVER}}]}},
        "status": {
            "allocation": {"devices": {"results": [result]}},
            "reservedFor": [{"resource": "pods", "name": "train", "uid": owner_uid}],
        },
    }


def template(name: str) -> Object:
    metadata = {
        "name": name,
        "namespace": "default",
        "labels": dict(MANAGED_BY),
        "creationTimestamp": ago(hours=5),
    }
    return {"metadata": metadata, "spec": {"spec": {}}}


def npu(**changes: Any) -> Object:
    attributes = {
        "type": {"string": "hami-ascend"},
        "uuid": {"string": "NPU-1"},
        "enforcement": {"string": "driver"},
        "productName": {"string": "Ascend910B3"},
        "driverVersion": {"version": "24.1.3"},
    }
    body = {"name": "ascend-0", "attributes": attributes, "capacity": {"memory": {"value": "64Gi"}}}
    return body | {"allowMultipleAllocations": True} | changes


def npu_slice(*devices: Object, generation: int = 4) -> Object:
    pool = {"name": NPU_NODE, "generation": generation, "resourceSliceCount": 1}
    spec = {"driver": NPU, "nodeName": NPU_NODE, "pool": pool, "devices": list(devices)}
    return {"metadata": {"name": f"{NPU_NODE}-{NPU}"}, "spec": spec}


def with_npus(kube: FakeKube) -> FakeKube:
    """A node without the label gpu=on, whose NPUs the families' plugin serves."""
    kube.create(kinds.NODES, node(NPU_NODE, gpu="off", npu="on"))
    kube.create(kinds.LEASES, lease(NPU_NODE), "kube-node-lease")
    kube.create(kinds.RESOURCE_SLICES, npu_slice(npu()))
    kube.create(kinds.DEVICE_CLASSES, {"metadata": {"name": NPU}})
    kube.create(kinds.DAEMON_SETS, workload("families", "hami-dra-driver-families", 2), NAMESPACE)
    kube.create(kinds.PODS, our_pod("families", NPU_NODE), NAMESPACE)
    kube.programs[f"families-{NPU_NODE}"] = npu_facts_of(NPU_NODE)
    return kube


def cluster() -> FakeKube:
    """Two GPU nodes, a control plane, the whole release, one Pod with a claim and one with a template."""
    kube = FakeKube()
    for name in NODES:
        kube.create(kinds.NODES, node(name))
        kube.create(kinds.RESOURCE_SLICES, slice_of(name, device()))
        kube.create(kinds.PODS, our_pod("driver", name), NAMESPACE)
        kube.programs[f"driver-{name}"] = facts_of(name)
        kube.texts[f"/api/v1/nodes/{name}/proxy/metrics"] = GATES
        kube.create(kinds.LEASES, lease(name), "kube-node-lease")
    kube.create(kinds.NODES, node("control", gpu="off"))
    kube.create(kinds.NAMESPACES, {"metadata": {"name": NAMESPACE, "labels": {}}})
    kube.create(kinds.DEVICE_CLASSES, {"metadata": {"name": DRIVER}})
    kube.create(kinds.DAEMON_SETS, workload("driver", "hami-dra-driver-kubelet-plugin", 2), NAMESPACE)
    for component in ("webhook", "monitor"):
        kube.create(kinds.DEPLOYMENTS, workload(component, f"hami-hami-dra-{component}", 2), NAMESPACE)
    bundle = certificate()
    kube.create(kinds.MUTATING_WEBHOOKS, webhook(bundle.ca.certificate))
    kube.create(kinds.SECRETS, secret(bundle), NAMESPACE)
    pod = kube.create(kinds.PODS, user_pod("train"), "default")
    kube.create(kinds.RESOURCE_CLAIMS, claim("default-train-c", pod["metadata"]["uid"]), "default")
    kube.create(kinds.PODS, user_pod("web", template="hami-abc"), "default")
    kube.create(kinds.RESOURCE_CLAIM_TEMPLATES, template("hami-abc"), "default")
    kube.texts["/version"] = json.dumps({"major": "1", "minor": "36", "gitVersion": "v1.36.0"})
    kube.texts["/apis"] = json.dumps({"groups": [{"name": "apps"}, {"name": "resource.k8s.io"}]})
    kube.texts["/metrics"] = GATES
    return kube

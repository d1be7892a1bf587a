"""How admission is set in a cluster: read from the webhook's registration and Deployment."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from hami_dra.admission.families import NVIDIA, ResourceNames
from hami_dra.admission.settings import Settings, chosen
from hami_dra.kube import kinds
from hami_dra.kube.protocol import KubeClient, Object
from hami_dra.model import errors, names
from hami_dra.ops.facts import OURS, component

HOOK = "pods.hami.io"
NAMESPACE_LABEL = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Installed:
    """SETTINGS of the webhook, and the namespaces whose Pods it never sees."""

    settings: Settings
    excluded: tuple[str, ...]


def webhook(client: KubeClient) -> Installed | None:
    """Admission as it is registered in the cluster; None when it is not. Raises errors.KubeError."""
    for registration in client.list(kinds.MUTATING_WEBHOOKS)[0]:
        for hook in registration.get("webhooks") or []:
            if component(registration) == "webhook" and hook["name"] == HOOK:
                service = hook["clientConfig"].get("service") or {}
                return Installed(_settings(client, service.get("namespace")), tuple(_excluded(hook)))
    return None


def resources(settings: Settings) -> frozenset[str]:
    """Every extended resource that admission takes out of a Pod."""
    return frozenset(name for family in settings.families for name in family.resources.all)


def _excluded(hook: Object) -> Iterator[str]:
    for wish in (hook.get("namespaceSelector") or {}).get("matchExpressions") or []:
        if wish["key"] == NAMESPACE_LABEL and wish["operator"] == "NotIn":
            yield from wish["values"]


def _settings(client: KubeClient, namespace: str | None) -> Settings:
    """Of the Deployment in NAMESPACE, or anywhere; those of the chart when there is none."""
    deployments, _ = client.list(kinds.DEPLOYMENTS, namespace, labels=OURS)
    deployment = next((item for item in deployments if component(item) == "webhook"), None)
    spec: Object = deployment["spec"]["template"]["spec"] if deployment else {}
    environment = {
        entry["name"]: entry["value"]
        for container in spec.get("containers") or []
        for entry in container.get("env") or []
        if "value" in entry
    }
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for name, profile in _profiles(client, deployment).items():
            (folder / Path(name).name).write_text(profile)
        found, _ = chosen(
            _resource_names(environment),
            environment.get("HAMI_DEVICE_CLASS", names.DRIVER),
            environment.get("HAMI_FAMILIES", NVIDIA.name).split(","),
            folder,
            extended_resource=environment.get("HAMI_EXTENDED_RESOURCE") == "true",
        )
    return found


def _resource_names(environment: Mapping[str, str]) -> ResourceNames:
    ours = asdict(NVIDIA.resources)
    return ResourceNames(
        **{key: environment.get(f"HAMI_RESOURCE_{key.upper()}", name) for key, name in ours.items()}
    )


def _profiles(client: KubeClient, deployment: Object | None) -> Mapping[str, str]:
    """The operator's own profiles, by file name."""
    if deployment is None:
        return {}
    namespace = deployment["metadata"]["namespace"]
    for volume in deployment["spec"]["template"]["spec"].get("volumes") or []:
        if volume["name"] == "profiles":
            try:
                found = client.get(kinds.CONFIG_MAPS, volume["configMap"]["name"], namespace)
            except errors.NotFound:  # the chart makes it only when there are some
                return {}
            profiles: Mapping[str, str] = found.get("data") or {}
            return profiles
    return {}

"""Why a Pod waits: one sentence and the next command, from the Pod, its claims and what is published.

Pure: `explain` looks at objects only. The causes are tried in the order in which a Pod meets them on its way
from admission through the scheduler to the kubelet.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from hami_dra.model import names, shortage
from hami_dra.model.explanation import Cause, Explanation, Object, View, room_of, waits
from hami_dra.model.room import Room


def explain(view: View) -> Explanation:
    """Return the first cause that applies."""
    pod = view.pod
    name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    phase = pod.get("status", {}).get("phase", "Pending")
    ends = pod["metadata"].get("deletionTimestamp")
    if ends or phase != "Pending":
        state = "being deleted" if ends else phase
        return Explanation(False, f"{name} does not wait: it is {state}.", reason="NotWaiting")
    view = view if view.room else replace(view, room=Room.of(view.slices, view.all_claims))
    for cause in OF_THE_POD if view.closed else CAUSES:
        found = cause(view, name)
        if found:
            return found
    message = _last_message(view.events, "FailedScheduling") or _unschedulable(pod)
    if message:
        sentence = f"{name} waits for the scheduler: {message}"
        return waits("Scheduler", sentence, _describe(pod))
    if view.open_claims:
        scheduler = pod["spec"].get("schedulerName") or "default-scheduler"
        sentence = f"{name} waits for {scheduler}, which has not said yet why it is not placed."
        return waits("Scheduler", sentence, _describe(pod))
    return Explanation(True, f"{name} has its share and waits for something else.", _describe(pod))


def named(pod: Object) -> set[str]:
    """Every resource of which a container or init container of POD wants some, in limits or requests."""
    listed = [
        container.get("resources") or {}
        for group in ("initContainers", "containers")
        for container in pod["spec"].get(group) or []
    ]
    return {
        name
        for each in listed
        for group in ("limits", "requests")
        for name, amount in (each.get(group) or {}).items()
        if str(amount) != "0"
    }


def unconverted(pod: Object, resources: Collection[str]) -> list[str]:
    """Those of RESOURCES that POD still names: no webhook has made a claim of them."""
    return sorted(named(pod) & set(resources))


def _no_request(view: View, name: str) -> Explanation | None:
    """Nothing was made of what the Pod asks for; or Kubernetes serves it, by a DeviceClass (KEP-5004)."""
    classes = {
        item["spec"]["extendedResourceName"]: item["metadata"]["name"]
        for item in view.classes
        if item.get("spec", {}).get("extendedResourceName")
    }
    asked = unconverted(view.pod, view.resources)
    left = [resource for resource in asked if resource not in classes]
    if asked and not left:
        said = _last_message(view.events, "FailedScheduling") or _unschedulable(view.pod) or "not seen yet"
        return waits(
            "Scheduler",
            f"{name} waits for {asked[0]}, which Kubernetes takes from DeviceClass "
            f"{classes[asked[0]]}: {said}",
            _describe(view.pod),
        )
    if left:
        namespace, pod = name.split("/")
        return waits(
            "NotConverted",
            f"{name} waits because {left[0]} was not made a claim: no webhook saw it when it was created.",
            f"hami doctor, then kubectl -n {namespace} get pod {pod} -o yaml | kubectl replace --force -f -",
        )
    if view.pod["spec"].get("resourceClaims"):
        return None
    sentence = f"{name} asks for no claim, so it waits for something else."
    return Explanation(True, sentence, _describe(view.pod))


def _held_back(view: View, name: str) -> Explanation | None:
    """No scheduler looks at a Pod with gates: a queue (Kueue) takes its own off when it is the Pod's turn."""
    gates = ", ".join(gate["name"] for gate in view.pod["spec"].get("schedulingGates") or [])
    if not gates:
        return None
    sentence = f"{name} is held back by {gates}: whoever has set this scheduling gate has to take it off."
    return waits("Gated", sentence, _describe(view.pod))


def _gate_off(view: View, name: str) -> Explanation | None:
    """The API server drops what it does not know, the scheduler says so."""
    ours = [card for card in room_of(view).cards if card.driver == names.DRIVER]
    to_share = [
        card for card in ours if "dynamic" not in card.attributes
    ]  # such an instance is had as a whole
    dropped = bool(to_share) and not any(card.shared for card in to_share)
    said = names.GATE in (_last_message(view.events, "FailedScheduling") or _unschedulable(view.pod) or "")
    if not (dropped or said):
        return None
    where = "the API server" if dropped else "the scheduler"
    return waits(
        "FeatureGate",
        f"{name} waits because the feature gate {names.GATE} is off in {where}.",
        "ansible-playbook playbooks/site.yml --tags control_plane,kubelet",
    )


def _no_class(view: View, name: str) -> Explanation | None:
    known = {item["metadata"]["name"] for item in view.classes}
    for wish in (each for alternatives in view.open_requests for each in alternatives):
        if wish.device_class not in known:
            return waits(
                "NoDeviceClass",
                f"{name} waits because DeviceClass {wish.device_class} does not exist.",
                "kubectl get deviceclass",
            )
    return None


def _no_claim(view: View, name: str) -> Explanation | None:
    """Of a converted Pod the claims are ours to make, of others their user's."""
    if len(view.claims) >= len(view.pod["spec"]["resourceClaims"]):
        return None
    refused = _last_message(view.events, "ClaimRefused", "FailedResourceClaimCreation") or ""
    if "exceeded quota" in refused:
        return waits(
            "Quota",
            f"{name} waits because its claim is beyond the namespace's quota: {refused}.",
            f"kubectl -n {name.split('/')[0]} describe resourcequota",
        )
    if not refused and names.CONVERTED_LABEL not in (view.pod["metadata"].get("labels") or {}):
        return waits(
            "NoClaim",
            f"{name} waits because a claim or template that it names does not exist.",
            f"kubectl -n {name.split('/')[0]} get resourceclaims,resourceclaimtemplates",
        )
    reason = f": {refused}" if refused else " yet"
    return waits(
        "NoClaim",
        f"{name} waits because its claim has not been made{reason}.",
        _logs(view, "webhook"),
    )


def _prepare_failed(view: View, name: str) -> Explanation | None:
    message = _last_message(view.events, "FailedPrepareDynamicResources")
    if message is None:
        return None
    node = view.pod["spec"].get("nodeName", "NODE")
    return waits(
        "PrepareFailed",
        f"{name} is on {node}, where its share could not be prepared: {message}",
        _logs(view, "driver"),
    )


def _last_message(events: list[Object], *reasons: str) -> str | None:
    messages = [event["message"] for event in events if event.get("reason") in reasons]
    return messages[-1] if messages else None


def _unschedulable(pod: Object) -> str | None:
    """The scheduler's own words, which outlive its Events."""
    conditions = pod.get("status", {}).get("conditions") or []
    reasons = ("Unschedulable", "SchedulerError")
    return next((each.get("message") for each in conditions if each.get("reason") in reasons), None)


def _describe(pod: Object) -> str:
    return f"kubectl -n {pod['metadata']['namespace']} describe pod {pod['metadata']['name']}"


def _logs(view: View, component: str) -> str:
    return f"kubectl -n {view.system} logs -l app.kubernetes.io/component={component}"


CAUSES: tuple[Cause, ...] = (
    _no_request,
    _held_back,
    _no_class,
    _gate_off,
    _no_claim,
    *shortage.CAUSES,
    _prepare_failed,
)
OF_THE_POD: tuple[Cause, ...] = (_no_request, _held_back, _no_claim, _prepare_failed)
"""Those for which its namespace is enough; for the others the scheduler speaks."""

"""The cluster at a glance: facts -> components, nodes, cards and shares. Pure; `hami status` prints it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hami_dra.kube.protocol import Object
from hami_dra.model import names
from hami_dra.observe import allocation
from hami_dra.observe.allocation import Allocation
from hami_dra.ops.facts import PLUGINS, Facts, component, is_on, node_info


@dataclass(frozen=True)
class Component:
    """One workload of the chart."""

    name: str
    ready: int
    wanted: int
    image: str

    @property
    def is_well(self) -> bool:
        """Whether it serves: a Deployment that is scaled to nothing does not."""
        return self.ready >= self.wanted and (self.wanted > 0 or self.name not in ("webhook", "monitor"))


@dataclass(frozen=True)
class Node:
    """A node with the label, or with cards. `plugin`: whether the plugin's Pod there is ready."""

    name: str
    ready: bool
    plugin: bool
    cards: int
    kubelet: str
    runtime: str

    @property
    def is_well(self) -> bool:
        """Whether Pods can get a share there."""
        return self.ready and self.plugin and self.cards > 0


@dataclass(frozen=True)
class Card:
    """A card and what is given out of it. Bytes, and percent of the card."""

    node: str
    device: str
    product: str
    uuid: str
    memory: int
    memory_allocated: int
    cores: int
    cores_allocated: int
    shares: int
    taint: str


@dataclass(frozen=True)
class Share:
    """A share and who holds it; `pods` is empty while nobody has reserved the claim."""

    namespace: str
    claim: str
    pods: tuple[str, ...]
    node: str
    device: str
    memory: int
    cores: int


@dataclass(frozen=True)
class Overview:
    """Everything that `hami status` shows."""

    kubernetes: str
    gate: str
    components: list[Component]
    label: str
    """What the nodes are labelled with that the plugin is to run on."""
    nodes: list[Node]
    cards: list[Card]
    shares: list[Share]
    waiting: list[str]
    """namespace/name of converted Pods that are not scheduled."""
    unreadable: dict[str, str]


def of(facts: Facts) -> Overview:
    """Put the facts together."""
    held = allocation.by_card(facts.slices, facts.claims)
    taints = {
        (node, device["name"]): device["taints"][0].get("value") or device["taints"][0]["key"]
        for node, device in facts.cards
        if device.get("taints")
    }
    gate = "on" if is_on(names.GATE, facts.gates) else "off"
    return Overview(
        kubernetes=str(facts.version.get("gitVersion", "?")),
        gate="unknown" if "gates" in facts.unreadable else gate,
        components=_components(facts),
        label=facts.gpu_label,
        nodes=_nodes(facts, Counter(card.node for card in held)),
        cards=[_card(card, given, taints.get((card.node, card.device), "")) for card, given in held.items()],
        shares=[
            _share(each)
            for given in held.values()
            for each in sorted(given, key=lambda each: (each.namespace, each.claim))
        ],
        waiting=sorted(
            f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            for pod in facts.converted
            if pod.get("status", {}).get("phase") == "Pending" and not pod["spec"].get("nodeName")
        ),
        unreadable=facts.unreadable,
    )


def _card(card: allocation.Card, given: list[Allocation], taint: str) -> Card:
    return Card(
        node=card.node,
        device=card.device,
        product=card.product,
        uuid=card.uuid,
        memory=card.memory,
        memory_allocated=sum(each.memory for each in given),
        cores=card.cores,
        cores_allocated=sum(each.cores for each in given),
        shares=len(given),
        taint=taint,
    )


def _share(given: Allocation) -> Share:
    return Share(
        namespace=given.namespace,
        claim=given.claim,
        pods=given.pods,
        node=given.card.node,
        device=given.card.device,
        memory=given.memory,
        cores=given.cores,
    )


def _components(facts: Facts) -> list[Component]:
    found = []
    for item in (*facts.daemon_sets, *facts.deployments):
        name, status = component(item), item.get("status", {})
        if name:
            image = item["spec"]["template"]["spec"]["containers"][0]["image"]
            ready = status.get("numberReady", 0) if name in PLUGINS else status.get("readyReplicas", 0)
            wanted = status.get("desiredNumberScheduled", 0) if name in PLUGINS else item["spec"]["replicas"]
            found.append(Component("plugin" if name == "driver" else name, ready, wanted, image))
    return found


def _nodes(facts: Facts, cards: Counter[str]) -> list[Node]:
    """Those with the label, and those that have CARDS."""
    concerned = {*facts.gpu_nodes, *cards}
    served = {pod["spec"].get("nodeName") for pod in facts.pods if component(pod) in PLUGINS and _serves(pod)}
    return [
        Node(
            name=name,
            ready=any(
                each["type"] == "Ready" and each["status"] == "True"
                for each in node.get("status", {}).get("conditions") or []
            ),
            plugin=name in served,
            cards=cards[name],
            kubelet=node_info(node, "kubeletVersion"),
            runtime=node_info(node, "containerRuntimeVersion"),
        )
        for node in facts.nodes
        if (name := node["metadata"]["name"]) in concerned
    ]


def _serves(pod: Object) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return bool(statuses) and all(each.get("ready") for each in statuses)

"""The cluster at a glance: facts -> components, nodes, cards and shares. Pure; `hami status` prints it."""

from __future__ import annotations

from dataclasses import dataclass

from hami_dra.kube.protocol import Object
from hami_dra.model import names
from hami_dra.observe import allocation
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
    published = allocation.cards(facts.slices)
    given = allocation.allocations(published, facts.claims)
    taken = {each.card for each in given}
    published = [card for card in published if card in taken or not card.partition]
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
        nodes=[_node(node, facts, published) for node in facts.nodes if _concerns(node, facts, published)],
        cards=[
            Card(
                node=card.node,
                device=card.device,
                product=card.product,
                uuid=card.uuid,
                memory=card.memory,
                memory_allocated=sum(each.memory for each in given if each.card == card),
                cores=card.cores,
                cores_allocated=sum(each.cores for each in given if each.card == card),
                shares=sum(each.card == card for each in given),
                taint=taints.get((card.node, card.device), ""),
            )
            for card in published
        ],
        shares=[
            Share(
                namespace=each.namespace,
                claim=each.claim,
                pods=each.pods,
                node=each.card.node,
                device=each.card.device,
                memory=each.memory,
                cores=each.cores,
            )
            for each in sorted(
                given, key=lambda each: (each.card.node, each.card.index, each.namespace, each.claim)
            )
        ],
        waiting=sorted(
            f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            for pod in facts.converted
            if pod.get("status", {}).get("phase") == "Pending" and not pod["spec"].get("nodeName")
        ),
        unreadable=facts.unreadable,
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


def _concerns(node: Object, facts: Facts, published: list[allocation.Card]) -> bool:
    name = node["metadata"]["name"]
    return name in facts.gpu_nodes or any(card.node == name for card in published)


def _node(node: Object, facts: Facts, published: list[allocation.Card]) -> Node:
    name = node["metadata"]["name"]
    return Node(
        name=name,
        ready=any(
            each["type"] == "Ready" and each["status"] == "True"
            for each in node.get("status", {}).get("conditions") or []
        ),
        plugin=any(_runs_on(pod, name) for pod in facts.pods if component(pod) in PLUGINS),
        cards=sum(card.node == name for card in published),
        kubelet=node_info(node, "kubeletVersion"),
        runtime=node_info(node, "containerRuntimeVersion"),
    )


def _runs_on(pod: Object, node: str) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return (
        pod["spec"].get("nodeName") == node and bool(statuses) and all(each.get("ready") for each in statuses)
    )

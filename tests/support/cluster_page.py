"""The page over a made-up cluster; `python -m tests.support.cluster_page [CARDS SHARES]` serves it."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from hami_dra import http_server
from hami_dra.model.names import DRIVER
from hami_dra.observe import room, web
from hami_dra.observe.allocation import Allocation, Card
from hami_dra.observe.cluster import CardUse, Cluster
from hami_dra.observe.waiting import Waiting

GIB = 1024**3
TEAMS = (
    "vision",
    "speech",
    "search",
    "ranking",
    "chat-prod",
    "chat-dev",
    "robotics",
    "notebooks",
    "batch",
    "ci",
)
SIZES = ((10, 10), (20, 25), (5, 5), (24, 20), (8, 10), (32, 30), (4, 0), (16, 15))
"""GiB and percent of the shares, in turn."""


def cluster(cards: int = 14, shares: int = 66, waiting: int = 2) -> Cluster:
    """Eight cards on a node; every fourth is left emptier, so that there is something to see."""
    made: dict[Card, list[Allocation]] = {}
    for number in range(cards):
        node, index = divmod(number, 8)
        big = node % 2 == 0
        card = Card(
            node=f"gpu-node-{node + 1}",
            pool=f"gpu-node-{node + 1}",
            device=f"hami-gpu-{index}",
            uuid=f"GPU-{number:08x}-ae21-13e7-0de0-9eb14ff71eaf",
            index=index,
            product="NVIDIA H100 80GB HBM3" if big else "NVIDIA A10",
            memory=(80 if big else 24) * GIB,
            cores=100,
            driver=DRIVER,
        )
        made[card] = []
    whole = list(made)
    for number in range(shares):
        card = whole[(number * 5 + number // 7) % len(whole)]
        held = made[card]
        memory, cores = SIZES[(number * 3 + number // 11) % len(SIZES)]
        room_left = card.memory // GIB - sum(each.memory for each in held) // GIB
        team = TEAMS[(number * number + number // 3) % len(TEAMS)]
        memory = min(memory, max(1, room_left - (card.index % 4) * 3)) if room_left > 1 else 0
        held.append(
            Allocation(
                card=card,
                namespace=team,
                claim=f"{team}-{number}",
                share_id=f"{number:08x}-a7ec-4a30-9782-634885c0c728",
                memory=memory * GIB,
                cores=min(cores, max(0, 100 - sum(each.cores for each in held))),
                pods=(f"{team}-{number}-0",) if number % 9 else (f"{team}-{number}-0", f"{team}-{number}-1"),
            )
        )
    return described(made, waiting)


def described(made: dict[Card, list[Allocation]], waiting: int) -> Cluster:
    """Put cards and their shares together, with WAITING Pods."""
    uses = [
        CardUse(card, sum(s.memory for s in held), sum(s.cores for s in held), tuple(held))
        for card, held in made.items()
    ]
    return Cluster(
        cards=uses,
        shares=[],
        nodes=room.nodes({use.card: (use.memory, use.cores) for use in uses}),
        namespaces=room.namespaces(share for held in made.values() for share in held),
        waiting=[_waiting(number) for number in reversed(range(waiting))],
    )


def _waiting(number: int) -> Waiting:
    pod = f"train-{number}"
    if number % 2:
        why = "asks for memory 96Gi and the largest card has 80Gi."
        reason, following = "TooLarge", "kubectl get resourceslices -o yaml"
        sentence = f"chat-dev/{pod} waits because it {why}"
    else:
        why = "it asks for cores 80, memory 40Gi, and the emptiest card has cores 75, memory 32Gi free."
        reason, following = "NoRoom", "kubectl get resourceclaims -A"
        sentence = f"chat-dev/{pod} waits for room: {why}"
    return Waiting("chat-dev", pod, time.time() - 840 * (number + 1), reason, sentence, following)


@contextmanager
def serving(shown: Cluster, port: int = 0, heard_at: float = math.inf) -> Iterator[str]:
    """Serve the page from a thread; yields its address."""
    app = http_server.observability(lambda: True, routes=web.routes(lambda: shown, lambda: heard_at))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    with serving(cluster(*map(int, sys.argv[1:])), 8099) as address:
        print(address, flush=True)
        threading.Event().wait()

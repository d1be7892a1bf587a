"""The checks of `hami doctor`: facts of a cluster -> findings, each with a remedy.

Every check is data with a pure function (`base.Check`); the documentation's page of each is made from it.
The role `preflight` uses the same ids.
"""

from collections.abc import Iterable

from hami_dra.ops.checks import admission, cards, cluster, components, left_overs, nodes
from hami_dra.ops.checks.base import Check, Finding, Severity, page
from hami_dra.ops.checks.nodes import ON_THE_NODE
from hami_dra.ops.facts import Facts

CHECKS: tuple[Check, ...] = (
    *cluster.CHECKS,
    *components.CHECKS,
    *cards.CHECKS,
    *admission.CHECKS,
    *left_overs.CHECKS,
    *nodes.CHECKS,
)
"""In the order in which a rollout meets them: the first that fails is the one to mend first."""


def run_all(facts: Facts) -> list[Finding]:
    """Run every check of which something can be said: of nodes, only when one was looked into."""
    in_cluster = [check for check in CHECKS if check not in ON_THE_NODE]
    if not facts.reachable:
        in_cluster = [check for check in in_cluster if check.id == "api-server"]
    return run(in_cluster, facts) + (run(ON_THE_NODE, facts) if facts.on_nodes else [])


def run(checks: Iterable[Check], facts: Facts) -> list[Finding]:
    """Run some of them."""
    return [check.run(facts) for check in checks]


__all__ = ["CHECKS", "ON_THE_NODE", "Check", "Finding", "Severity", "page", "run", "run_all"]

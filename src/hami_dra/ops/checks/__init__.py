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
    *nodes.CHECKS,
    *left_overs.CHECKS,
)
"""In the order in which a rollout meets them: the first that fails is the one to mend first."""


def run_all(facts: Facts) -> list[Finding]:
    """Run every check; when the API server does not answer, only what can be said without it."""
    if facts.reachable:
        return run(CHECKS, facts)
    alone = [check for check in CHECKS if check.id == "api-server"]
    return run(alone, facts) + (run(ON_THE_NODE, facts) if facts.on_nodes else [])


def run(checks: Iterable[Check], facts: Facts) -> list[Finding]:
    """Run some of them."""
    return [check.run(facts) for check in checks]


__all__ = ["CHECKS", "ON_THE_NODE", "Check", "Finding", "Severity", "page", "run", "run_all"]

"""Checks for claims and templates that nobody needs any more, and that keep parts of cards from others."""

from __future__ import annotations

import datetime

from hami_dra.kube.protocol import Object
from hami_dra.model import names
from hami_dra.ops.checks.base import Check, Verdict, command, doubtful, fine, logs, some
from hami_dra.ops.facts import Facts
from hami_dra.ops.in_use import drivers

CLAIM_GRACE = datetime.timedelta(minutes=10)
TEMPLATE_GRACE = datetime.timedelta(hours=2)
"""Twice the time for which the controller keeps a template that nobody uses."""

STUCK = " (cannot end)"


def _claims(facts: Facts) -> Verdict:
    """Ours whose Pod is gone, and any of our drivers' that cannot end."""
    living = {pod["metadata"]["uid"] for pod in facts.converted}
    used = _named(facts, "resourceClaimName")
    leaked = []
    for claim in facts.claims:
        metadata = claim["metadata"]
        owners = {owner["uid"] for owner in metadata.get("ownerReferences") or []}
        if metadata.get("deletionTimestamp"):
            if (
                any(map(names.is_ours, drivers(claim)))
                and facts.now - _time(metadata["deletionTimestamp"]) > CLAIM_GRACE
            ):
                leaked.append(_name(claim) + STUCK)
        # One that was printed by `hami convert` and made by a person has no owner.
        elif (
            _is_ours(claim)
            and _old(claim, facts, CLAIM_GRACE)
            and not (owners & living or _key(claim) in used)
        ):
            leaked.append(_name(claim))
    if not leaked:
        return fine("none without its Pod")
    (namespace, _, name), verb = leaked[0].partition("/"), "delete"
    if name.endswith(STUCK):
        name, verb = name.removesuffix(STUCK), "describe"
    return doubtful(some(leaked), f"kubectl -n {namespace} {verb} resourceclaim {name}")


def _templates(facts: Facts) -> Verdict:
    used = _named(facts, "resourceClaimTemplateName")
    leaked = [
        _name(template)
        for template in facts.templates
        if _is_ours(template) and _old(template, facts, TEMPLATE_GRACE) and _key(template) not in used
    ]
    if not leaked:
        return fine("none without a Pod that uses it")
    look = logs("webhook", facts.namespace)
    return doubtful(some(leaked), f"the webhook collects them every ten minutes; why it does not: {look}")


def _named(facts: Facts, by: str) -> set[tuple[str, str]]:
    """Namespace and name of what converted Pods use."""
    return {
        (pod["metadata"]["namespace"], entry[by])
        for pod in facts.converted
        for entry in pod["spec"].get("resourceClaims") or []
        if by in entry
    }


def _is_ours(item: Object) -> bool:
    return bool((item["metadata"].get("labels") or {}).items() >= names.MANAGED_BY.items())


def _old(item: Object, facts: Facts, grace: datetime.timedelta) -> bool:
    made = item["metadata"].get("creationTimestamp")
    return bool(made) and facts.now - _time(made) > grace


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def _name(item: Object) -> str:
    return "/".join(_key(item))


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]


CHECKS = (
    Check(
        id="leaked-claims",
        title="A claim outlives its Pod",
        expected="claims of ours with their Pod alive",
        why="A claim that admission made belongs to its Pod and goes with it. One that stays keeps its "
        "part of a card from everybody else. One that cannot end is held by a node whose plugin does not "
        "answer.",
        mend=(
            "See who holds it:",
            command("kubectl get resourceclaims -A\nkubectl -n NAMESPACE describe resourceclaim NAME"),
            "Cannot end: mend the plugin on its node first ([plugin](plugin.md)). Else remove it:",
            command("kubectl -n NAMESPACE delete resourceclaim NAME"),
        ),
        needs=("claims", "converted"),
        look=_claims,
    ),
    Check(
        id="leaked-templates",
        title="A claim template is not collected",
        expected="templates of ours that a Pod uses",
        why="Templates take no part of a card. That they pile up shows that the claim controller does not "
        "work.",
        mend=(
            "The controller is part of the webhook:",
            command(logs("webhook")),
            "Removing them by hand does no harm:",
            command("kubectl -n NAMESPACE delete resourceclaimtemplate NAME"),
        ),
        needs=("templates", "converted"),
        look=_templates,
    ),
)

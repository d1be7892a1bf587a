"""Every row of the unit tests' table on a real API server: expressions compiled, names and sizes legal."""

import pytest

from hami_dra.admission import claim_objects
from hami_dra.admission.patch import convert
from hami_dra.kube import kinds
from hami_dra.model import errors
from tests.unit.admission import cases

ROWS = dict(cases.load())
CONVERTED = {name: row for name, row in ROWS.items() if "share" in row or "shares" in row}
# What the webhook of this cluster cannot be told: other cards, other settings, names in use.
OF_THE_CLUSTER = {
    name: row
    for name, row in ROWS.items()
    if not {"cards", "extended", "taken", "traditional"} & row.keys() and "percentage" not in row["it"]
}


@pytest.mark.parametrize("row", CONVERTED.values(), ids=CONVERTED)
def test_the_api_server_accepts_the_claims_and_templates(dry, row):
    made = convert(cases.pod(row), dry.name, cases.settings(row), cases.surroundings(row))
    for name, spec in made.claims.items():
        dry.create(kinds.RESOURCE_CLAIMS, claim_objects.bare_claim(dry.name, name, spec), dry_run=True)
    for name, spec in made.templates.items():
        dry.create(kinds.RESOURCE_CLAIM_TEMPLATES, claim_objects.template(dry.name, name, spec), dry_run=True)


def source_of(row):
    """The row's Pod in full, as a real API server wants it."""
    source = cases.pod(row)
    for owner in source["metadata"].get("ownerReferences", []):
        owner |= {"uid": "0", "apiVersion": owner.get("apiVersion", "apps/v1")}
    for container in source["spec"].get("initContainers", []) + source["spec"]["containers"]:
        for amounts in container["resources"].values():
            amounts.update({key: str(value) for key, value in amounts.items()})
    return source


def outcome(space, row):
    """The stored Pod, or what the API server says instead."""
    try:
        return space.create(kinds.PODS, source_of(row), dry_run=True), ""
    except errors.KubeError as refused:
        return None, str(refused)


@pytest.mark.parametrize("row", OF_THE_CLUSTER.values(), ids=OF_THE_CLUSTER)
def test_the_api_server_admits_or_refuses_the_pod_as_the_table_says(dry, row):
    stored, refused = outcome(dry, row)
    if "denied" in row:
        assert stored is None
        if "quantity" not in str(row["denied"]):
            where = row["denied"][0].split(":")[0].split(" is ")[0]
            assert where in refused
    else:
        assert refused == ""
        assert bool(stored["spec"].get("resourceClaims")) is not bool(row.get("untouched"))

"""The table of Pods and their claims, row by row (`cases/*.yaml`)."""

import copy

import pytest

from hami_dra.admission.patch import convert
from hami_dra.model import choice
from hami_dra.model.errors import RequestDenied
from tests.unit.admission import cases

ROWS = list(cases.load())
IDS = [name for name, _ in ROWS]
CONVERTED = [row for _, row in ROWS if "share" in row or "shares" in row]
CONVERTED_IDS = [name for name, row in ROWS if "share" in row or "shares" in row]


def converted(row, source=None):
    return convert(source or cases.pod(row), "ml", cases.settings(row), cases.surroundings(row))


def test_the_table_is_large_and_each_row_says_something_of_its_own():
    assert len(ROWS) >= 150
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize(("name", "row"), ROWS, ids=IDS)
def test_row(name, row):
    if "denied" in row:
        with pytest.raises(RequestDenied) as refusal:
            converted(row)
        for words in row["denied"]:
            assert words in str(refusal.value)
        return
    made = converted(row)
    if row.get("untouched"):
        assert made is None
        return
    specs = held(made)
    assert specs == {name: cases.claim_spec(share) for name, share in cases.shares(row).items()}
    for borrower, lender in row.get("uses", {}).items():
        assert claims_of(made.pod, borrower) == claims_of(made.pod, lender)
    warned = row.get("warnings", [])
    assert len(made.warnings) == len(warned)
    for words, warning in zip(warned, made.warnings, strict=True):
        assert words in warning
    check_details(row, made)


def check_details(row, made):
    if "claim" in row:
        assert list(made.claims) == [row["claim"]]
    if row.get("template"):
        assert made.claims == {}
        assert made.templates
    if "kept" in row:
        kept = made.pod["spec"]["containers"][0]["resources"]["limits"]
        assert kept == row["kept"]
    if "sums" in row:
        annotations = made.pod["metadata"]["annotations"]
        sums = {
            key.removeprefix("hami.io/"): int(value) for key, value in annotations.items() if "gpu" in key
        }
        assert sums == row["sums"]
    if "scheduler" in row:
        assert made.pod["spec"]["schedulerName"] == row["scheduler"]
    for name, share in cases.shares(row).items():
        if "entry" in share:
            assert claims_of(made.pod, name) == [share["entry"]]


def held(made):
    """Container -> specification of the share it holds; containers that use one in turn are left out."""
    entries = {entry["name"]: entry for entry in made.pod["spec"]["resourceClaims"]}
    found, seen = {}, set()
    for container in reversed(all_containers(made.pod)):
        for name in claims_of(made.pod, container["name"]):
            entry = entries[name]
            if name not in seen:
                seen.add(name)
                claim = entry.get("resourceClaimName")
                spec = made.claims[claim] if claim else made.templates[entry["resourceClaimTemplateName"]]
                found[container["name"]] = spec
    return found


def all_containers(pod):
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def claims_of(pod, name):
    (container,) = [one for one in all_containers(pod) if one["name"] == name]
    return [claim["name"] for claim in container["resources"].get("claims", [])]


@pytest.mark.parametrize("row", CONVERTED, ids=CONVERTED_IDS)
def test_no_resource_of_ours_is_left_and_nothing_else_is_changed(row):
    source = cases.pod(row)
    before = copy.deepcopy(source)
    made = converted(row, source)
    assert source == before, "a review must not change what it looks at"
    for old, new in zip(all_containers(source), all_containers(made.pod), strict=True):
        assert {key: value for key, value in old.items() if key != "resources"} == {
            key: value for key, value in new.items() if key != "resources"
        }
        left = [*new["resources"].get("limits", {}), *new["resources"].get("requests", {})]
        ours = {"nvidia.com/" + key for key in ("gpu", "gpumem", "gpumem-percentage", "gpucores", "priority")}
        assert ours.isdisjoint(left)


@pytest.mark.parametrize("row", CONVERTED, ids=CONVERTED_IDS)
def test_a_second_review_changes_nothing(row):
    assert converted(row, converted(row).pod) is None


@pytest.mark.parametrize("row", CONVERTED, ids=CONVERTED_IDS)
def test_every_selector_is_read_back_as_the_choice_it_was_made_from(row):
    for spec in held(converted(row)).values():
        for asked in spec["devices"]["requests"][0].get("firstAvailable") or [
            spec["devices"]["requests"][0]["exactly"]
        ]:
            for selector in asked["selectors"]:
                expression = selector["cel"]["expression"]
                found = choice.parse(expression)
                if ".productName" in expression or ".uuid" in expression:
                    assert found.expression(cases.DRIVER) == expression
                else:
                    assert found is None

"""A profile is read strictly: what is wrong is told with file, key and reason, before a Pod depends on it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from hami_dra.devices import families, profile, profile_file
from hami_dra.model.errors import UserError
from tests.support.trees import PROFILES

DOCS = Path(__file__).parents[3] / "docs"
SCHEMA = DOCS / "profile.schema.json"

# The smallest profile that works: what a person starts from.
ACME: dict[str, Any] = {
    "profile": 1,
    "family": "acme",
    "title": "Acme accelerator",
    "enforces": "advisory",
    "enforcement": "memory is accounted only",
    "verified": "simulated tree",
    "discover": {"glob": "/dev/acme[0-9]*"},
    "facts": {"memory": {"file": "/sys/class/acme/acme{index}/memory"}},
    "name": "acme-{index}",
    "uuid": "ACME-{index}",
    "attributes": {"productName": "Acme One"},
    "capacities": {"memory": {"value": "{memory}", "unit": "bytes", "least": "1Mi", "step": "1Mi"}},
    "container": {"devices": ["/dev/acme{index}"], "environment": {"ACME_VISIBLE_DEVICES": "{index}"}},
    "resources": [{"count": "acme.example/npu", "memory": "acme.example/npu-memory"}],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """ACME with one key set, or taken out when VALUE is None."""
    body = copy.deepcopy(ACME)
    *steps, last = path.split("/")
    at = body
    for step in steps:
        at = at[step]
    if value is None:
        del at[last]
    else:
        at[last] = value
    return body


def refusal(body: Any) -> str:
    with pytest.raises(UserError) as caught:
        profile_file.parse(body, "acme.yaml", "acme")
    return str(caught.value)


def test_the_smallest_profile_is_a_driver_of_its_name() -> None:
    assert profile_file.parse(ACME, "acme.yaml", "acme").driver == "acme.project-hami.io"


def test_devices_that_a_program_lists_are_numbered() -> None:
    found = {"command": ["acme-smi"], "pattern": r"card (?P<memory>\w+)"}
    body = changed("discover", found) | {"facts": {}}
    assert profile_file.parse(body, "acme.yaml", "acme").discover.command == ["acme-smi"]


def test_a_column_of_sizes_is_no_text() -> None:
    models = {"match": "{index}", "table": {"0": {"halves": {"1Gi": "half"}}}}
    body = changed("capacities/memory", {"unit": "bytes", "sizes": "halves"}) | {"models": models}
    body["attributes"] = {"productName": "{halves}"}
    assert "{halves} is not known here" in refusal(body)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("family", "other", "acme.yaml: family: is 'other', and the file is named 'acme'"),
        ("family", "Not A Name", "acme.yaml: family: "),
        ("profile", 2, "acme.yaml: profile: invalid enum value 2"),
        ("title", None, "acme.yaml: title: object missing required field `title`"),
        ("colour", "red", "acme.yaml: colour: object contains unknown field `colour`"),
        ("enforces", "strictly", "acme.yaml: enforces: invalid enum value 'strictly'"),
        ("enforces", "whole", "acme.yaml: enforces: is `whole` for devices that are not shared"),
        ("discover", {}, "acme.yaml: discover: must have one of glob, pci and command"),
        (
            "discover/pci",
            {"vendor": "0x1"},
            "acme.yaml: discover: must have one of glob, pci and command",
        ),
        ("discover/glob", "dev/acme*", "acme.yaml: discover.glob: 'dev/acme*' is no absolute path"),
        ("discover/where", {"colour": "red"}, "acme.yaml: discover.where.colour: no fact has this name"),
        ("discover/where", {"index": "["}, "acme.yaml: discover.where.index: is no regular expression"),
        ("facts/memory", {"file": "/x", "value": "1"}, "acme.yaml: facts.memory: must have one of"),
        ("facts/memory/file", "/sys/{nothing}", "acme.yaml: facts.memory.file: {nothing} is not known here"),
        ("facts/memory/pattern", "(", "acme.yaml: facts.memory.pattern: is no regular expression"),
        ("facts/memory/multiply", "ten", "acme.yaml: facts.memory.multiply: expected `int`, got `str`"),
        ("facts/memory/colour", "red", "acme.yaml: facts.memory.colour: object contains unknown field"),
        ("name", "acme-{number}", "acme.yaml: name: {number} is not known here (known: file, index, memory"),
        ("attributes/productName", None, "acme.yaml: attributes.productName: is missing"),
        ("attributes/not-a-name", "x", "acme.yaml: attributes.not-a-name: is no name of an attribute"),
        ("attributes/uuid", "x", "acme.yaml: attributes.uuid: is set for every family"),
        ("capacities", {}, "acme.yaml: capacities: is missing"),
        ("capacities/memory/step", 0, "acme.yaml: capacities.memory.step: 0 is no step"),
        ("capacities/memory/least", "1Mb", "acme.yaml: capacities.memory.least: '1Mb' is not a quantity"),
        (
            "capacities/memory/sizes",
            "sizes",
            "acme.yaml: capacities.memory: must have one of value and sizes",
        ),
        ("capacities/memory/unit", "stones", "acme.yaml: capacities.memory.unit: invalid enum value"),
        ("container/devices", ["dev/acme0"], "acme.yaml: container.devices[0]: 'dev/acme0' is no absolute"),
        ("container/devices", [{"inside": "/x"}], "acme.yaml: container.devices[0].path: object missing"),
        ("container/mounts", ["/usr/../etc"], "acme.yaml: container.mounts[0]: '/usr/../etc' is no absolute"),
        ("container/mounts", ["/x{index}"], "acme.yaml: container.mounts[0]: is for all devices"),
        ("container/common", ["/dev/acme{index}"], "acme.yaml: container.common[0]: is for all devices"),
        ("container/environment", {"A B": "1"}, "acme.yaml: container.environment.A B: is no name"),
        (
            "container/environment",
            {"A": "{memory.units}"},
            "acme.yaml: container.environment.A: {memory.units} is not known here",
        ),
        ("health", [{"key": "x"}], "acme.yaml: health[0]: must have one of file and command"),
        ("resources", [{"count": "npu"}], "acme.yaml: resources[0]: 'npu' is no name of a resource"),
        (
            "capacities/memory",
            {"unit": "bytes", "sizes": {"{colour}": ""}},
            "acme.yaml: capacities.memory.sizes.{colour}: {colour} is not known here",
        ),
        (
            "resources",
            [{"count": "a.b/npu", "cores": "a.b/c", "coreSizes": {50: "half"}}],
            "acme.yaml: resources[0].coreSizes.50: 'half' is not a quantity",
        ),
        (
            "resources",
            [{"count": "a.b/npu", "coresWhole": 0}],
            "acme.yaml: resources[0].coresWhole: expected `int` >= 1",
        ),
        ("resources", [{"count": "a.b/npu", "slices": 6}], "acme.yaml: resources[0].slices: needs the capac"),
        (
            "resources",
            [{"count": "a.b/npu", "cores": "a.b/cores"}],
            "acme.yaml: resources[0]: a.b/cores needs a capacity cores",
        ),
    ],
)
def test_what_is_wrong_is_told_with_file_key_and_reason(path: str, value: Any, said: str) -> None:
    text = refusal(changed(path, value))
    assert text.startswith(said)
    assert text.endswith("See docs/profiles.md")
    assert "\n" not in text


def test_a_file_that_holds_no_map_is_no_profile() -> None:
    assert refusal([]).startswith("acme.yaml: profile: expected `object`, got `array`")


def test_rows_of_models_have_the_same_columns() -> None:
    models = {"match": "{index}", "table": {"0": {"a": 1}, "1": {"b": 1}}}
    assert "models.table.1: has not the same columns as the first row (a, b)" in refusal(
        changed("models", models)
    )


def test_yaml_that_cannot_be_read_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "acme.yaml"
    path.write_text("profile: 1\nfamily: [\n")
    with pytest.raises(UserError, match=r"acme\.yaml:\d+: is not YAML"):
        profile_file.load(path)


def test_one_bad_profile_stops_no_other(tmp_path: Path) -> None:
    (tmp_path / "acme.yaml").write_text(yaml.safe_dump(ACME))
    (tmp_path / "bad.yaml").write_text("profile: 1\n")
    good, refused = families.profiles(["acme", "bad", "ascend", "nowhere"], tmp_path)
    assert [each.family for each in good] == ["acme", "ascend"]
    assert [str(each).partition(": ")[0] for each in refused] == [
        str(tmp_path / "bad.yaml"),
        "family nowhere",
    ]


def test_a_profile_of_the_operator_takes_the_place_of_ours(tmp_path: Path) -> None:
    mine = (PROFILES / "vastai.yaml").read_text().replace("title: Vastai", "title: My")
    (tmp_path / "vastai.yaml").write_text(mine)
    ((profile_,), _) = families.profiles(["vastai"], tmp_path)
    assert profile_.title == "My accelerator"


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.yaml")), ids=lambda path: str(path.stem))
def test_each_shipped_profile_says_in_one_line_what_it_enforces_and_on_what_it_was_verified(
    path: Path,
) -> None:
    each = profile_file.load(path)
    assert "\n" not in each.enforcement.strip()
    assert each.verified == "simulated tree", "nobody has reported hardware yet"


def test_the_schema_for_editors_is_that_of_the_form() -> None:
    stale = "run: python -m tests.unit.devices.test_profile"
    assert json.loads(SCHEMA.read_text()) == profile.schema(), stale


@pytest.mark.parametrize(
    "path", [*sorted(PROFILES.glob("*.yaml")), DOCS / "examples/acme.yaml"], ids=lambda path: str(path.stem)
)
def test_an_editor_finds_nothing_wrong_with_our_profiles(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text()), json.loads(SCHEMA.read_text()))


@pytest.mark.parametrize(
    ("path", "value"), [("colour", "red"), ("enforces", "strictly"), ("facts/memory/multiply", "ten")]
)
def test_an_editor_sees_a_key_or_a_value_that_is_none(path: str, value: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed(path, value), json.loads(SCHEMA.read_text()))


if __name__ == "__main__":
    SCHEMA.write_text(json.dumps(profile.schema(), indent=1) + "\n")

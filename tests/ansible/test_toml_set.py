"""The filter that edits containerd's configuration leaves everything else as its owner wrote it."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ansible.loading import plugin

toml = plugin("filter/toml.py")
toml_set = toml.toml_set

CRI = 'plugins."io.containerd.grpc.v1.cri"'
CONTAINERD_17 = """\
version = 2 # the owner's words

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    sandbox_image = "registry.k8s.io/pause:3.10"

    [plugins."io.containerd.grpc.v1.cri".containerd]
      default_runtime_name = "runc"
"""


def cdi(text: str) -> object:
    return tomllib.loads(text)["plugins"]["io.containerd.grpc.v1.cri"]["enable_cdi"]


def test_a_missing_key_is_added_to_its_table_and_nothing_else_changes():
    edited = toml_set(CONTAINERD_17, CRI, "enable_cdi", True)
    added = [line for line in edited.splitlines() if line not in CONTAINERD_17.splitlines()]
    assert [line.strip() for line in added] == ["enable_cdi = true"]
    assert [line for line in edited.splitlines() if line not in added] == CONTAINERD_17.splitlines()
    assert cdi(edited) is True


def test_a_key_that_is_off_is_switched_in_its_place_and_keeps_its_comment():
    text = CONTAINERD_17.replace("    sandbox", "    enable_cdi = false  # not yet\n    sandbox")
    edited = toml_set(text, CRI, "enable_cdi", True)
    assert "    enable_cdi = true # not yet\n" in edited
    assert len(edited.splitlines()) == len(text.splitlines())


def test_a_value_that_is_there_leaves_the_text_untouched():
    once = toml_set(CONTAINERD_17, CRI, "enable_cdi", True)
    assert toml_set(once, CRI, "enable_cdi", True) == once


def test_a_missing_table_is_added_at_the_end():
    edited = toml_set("version = 2", CRI, "enable_cdi", True)
    assert edited.startswith("version = 2\n\n[plugins.")
    assert cdi(edited) is True


def test_an_empty_file_becomes_the_table_alone():
    assert toml_set("", "a", "b", "c") == '[a]\nb = "c"\n'


def test_a_table_is_found_however_its_name_is_quoted():
    edited = toml_set("[ plugins . 'io.containerd.grpc.v1.cri' ] # here\n", CRI, "enable_cdi", True)
    assert edited.count("[") == 1
    assert cdi(edited) is True


def test_a_key_of_the_same_name_in_another_table_is_left_alone():
    text = "[other]\nenable_cdi = false\n"
    assert tomllib.loads(toml_set(text, CRI, "enable_cdi", True))["other"] == {"enable_cdi": False}


def test_a_broken_file_is_refused_with_the_place():
    with pytest.raises(ValueError, match=r"not TOML.*line 2.*correct it"):
        toml_set("version = 2\n[plugins\n", CRI, "enable_cdi", True)


def test_an_inline_table_is_refused_instead_of_broken():
    with pytest.raises(ValueError, match="by hand"):
        toml_set("a = { b = false }\n", "a", "b", True)


@given(
    st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text() | st.booleans() | st.integers())
)
def test_no_other_value_changes(values):
    import json

    text = "[t]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
    try:
        before = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert tomllib.loads(toml_set(text, "t", "enable_cdi", True)) == {"t": before["t"] | {"enable_cdi": True}}


def test_a_plan_names_the_file_and_leaves_a_broken_text_alone():
    plan = toml.toml_plan("[broken\n", "a", "b", True, "/etc/containerd/config.toml")
    assert plan["text"] == "[broken\n"
    assert plan["problem"].startswith("/etc/containerd/config.toml: the file is not TOML: ")
    assert "line 1" in plan["problem"]
    assert toml.toml_plan("", "a", "b", True, "x") == {"text": "[a]\nb = true\n", "problem": ""}


def test_only_what_differs_in_effect_is_told():
    before = "version = 2\n[plugins.a]\nx = 1\ny = [1, 2]\n"
    after = "version = 2\n[plugins.a]\ny = [1, 2]\nx = 2\n[plugins.b]\nz = true\n"
    assert toml.toml_differences(before, before) == []
    assert toml.toml_differences(before, after) == ["plugins.a.x", "plugins.b"]


def test_a_value_is_found_by_its_path():
    assert toml.toml_value(CONTAINERD_17, "plugins", "io.containerd.grpc.v1.cri", "sandbox_image") is not None
    assert toml.toml_value(CONTAINERD_17, "plugins", "other") is None


def test_containerd_1_7_tells_its_imports_in_any_order():
    before, after = (f"imports = {order}\ncdi = {cdi}\n" for order, cdi in ((["a", "b"], 0), (["b", "a"], 1)))
    assert toml.toml_differences(before, after) == ["cdi"]
    assert toml.toml_differences(before, before.replace("b", "c")) == ["imports"]

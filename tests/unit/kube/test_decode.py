"""Whatever a user has put into a claim's parameters, the lists that it is in are read."""

import json
import string

import hypothesis
import msgspec
import pytest
from hypothesis import strategies

from hami_dra.kube import decode as subject
from hami_dra.kube.decode import DEEPEST, decode


def nested(levels, opened="[", closed="]"):
    return opened * levels + closed * levels


@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}"), ('[{"]}":', "}]")])
def test_what_is_too_deep_is_left_out_and_all_else_is_read(opened, closed):
    deep = nested(4000, opened, closed).replace(f"{opened}{closed}", f"{opened}1{closed}", 1)
    found = decode(f'{{"items":[{{"name":"a","parameters":{deep}}},{{"name":"b\\"]}}"}}]}}'.encode())
    assert [item["name"] for item in found["items"]] == ["a", 'b"]}']
    assert depth(found) == DEEPEST


def depth(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


def test_what_is_no_json_is_refused_at_any_depth():
    with pytest.raises(msgspec.DecodeError):
        decode(b"[" * 4000)


TEXTS = strategies.text(alphabet=string.printable)
VALUES = strategies.recursive(
    TEXTS | strategies.integers(-(2**53), 2**53) | strategies.none(),
    lambda inner: strategies.lists(inner) | strategies.dictionaries(TEXTS, inner),
)


@hypothesis.given(VALUES)
def test_what_is_shallow_enough_stays_as_it_is(value):
    text = json.dumps(value).encode()
    assert subject._shallow(text) == text

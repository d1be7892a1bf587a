"""The checkpoint survives power cuts, other versions of us, and damage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hami_dra.model.errors import StateError
from hami_dra.model.share import PreparedClaim, Share
from hami_dra.node import checkpoint, files

CONSUMED = {"cores": 50, "memory": 10 << 30}
SHARE = Share("share", "gpu", "node", "hami-gpu-0", "GPU-1", CONSUMED, {"cores": (0, 1)})
CLAIM = PreparedClaim("uid", "default", "half", (SHARE,))


@pytest.mark.parametrize(
    "exchange", [files.exchange, lambda *_: False], ids=["", "a file system that cannot exchange names"]
)
def test_what_is_saved_last_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: Callable[..., bool]
) -> None:
    monkeypatch.setattr(files, "exchange", exchange)
    file = checkpoint.Checkpoint(tmp_path / "checkpoint.json")
    assert file.load() == {}
    for claims in ({"uid": CLAIM}, {}, {"uid": CLAIM}):
        file.save(claims)
        assert checkpoint.Checkpoint(tmp_path / "checkpoint.json").load() == claims
    assert file.load() == {"uid": CLAIM}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.json"]


def test_who_only_looks_finds_nothing_in_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Of the disk's error the next prepare tells; the publisher, which looks for its order, must not die."""
    file = checkpoint.Checkpoint(tmp_path / "checkpoint.json")
    (tmp_path / "checkpoint.json").write_text("damaged")
    assert file.shares() == []
    (tmp_path / "checkpoint.json").unlink()
    (tmp_path / "checkpoint.json").mkdir()
    assert file.shares() == []


def test_who_looks_without_the_lock_does_not_make_its_holder_load_what_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The publisher looks at what is prepared while claims are prepared. Its look is the slow one here: it
    read the file before the last save, and is done in the middle of the next load."""
    before, now = checkpoint.encode({}), checkpoint.encode({"uid": CLAIM})

    class Interrupted(bytes):
        def __ne__(self, other: object) -> bool:
            differs = super().__ne__(other)
            monkeypatch.setattr(Path, "read_bytes", lambda _: before)
            assert file.shares() == []
            return differs

    file = checkpoint.Checkpoint(tmp_path / "checkpoint.json")
    file.save({"uid": CLAIM})
    monkeypatch.setattr(Path, "read_bytes", lambda _: Interrupted(now))
    assert file.load() == {"uid": CLAIM}


def rewritten(text: str | bytes, change: Callable[[dict[str, Any]], Any], **more: Any) -> str:
    """TEXT with CHANGE made to each claim, under a checksum that is right; MORE fields stand beside it."""
    outer = json.loads(text)
    claims = json.loads(outer["payload"])
    for claim in claims:
        change(claim)
    payload = json.dumps(claims)
    return json.dumps(
        outer | {"payload": payload, "checksum": hashlib.sha256(payload.encode()).hexdigest()} | more
    )


def test_fields_of_a_later_release_do_no_harm() -> None:
    def add(claim: dict[str, Any]) -> None:
        claim["added"] = claim["shares"][0]["added"] = "later"

    later = rewritten(checkpoint.encode({"uid": CLAIM}), add, more=1)
    assert checkpoint.decode(later.encode()) == {"uid": CLAIM}


def test_a_damaged_file_is_told_apart_and_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    file = checkpoint.Checkpoint(path)
    path.write_bytes(checkpoint.encode({"uid": CLAIM}).replace(b"half", b"hall"))
    with pytest.raises(StateError, match=r"checkpoint\.json: the checksum does not match"):
        file.load()
    kept = file.replace_damaged({})
    assert b"hall" in kept.read_bytes()
    assert file.load() == {}


def test_a_damaged_file_is_kept_once_and_stays_in_its_place_until_there_is_space_for_another(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoint.json"
    path.write_bytes(b"{")
    file = checkpoint.Checkpoint(path)
    in_the_way = tmp_path / ".checkpoint.json.tmp"
    in_the_way.mkdir()
    for _ in range(2):
        with pytest.raises(OSError, match=r"checkpoint\.json\.tmp"):
            file.replace_damaged({"uid": CLAIM})
        with pytest.raises(StateError):
            file.load()
    in_the_way.rmdir()
    file.replace_damaged({"uid": CLAIM})
    assert file.load() == {"uid": CLAIM}
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1


@given(st.binary(max_size=300))
def test_any_bytes_are_either_claims_or_a_state_error(data: bytes) -> None:
    with pytest.raises(StateError):
        checkpoint.decode(data)


@given(st.data())
def test_a_file_with_one_byte_changed_never_yields_other_claims(data: st.DataObject) -> None:
    whole = bytearray(checkpoint.encode({"uid": CLAIM}))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    with suppress(StateError):
        assert checkpoint.decode(bytes(whole)) == {"uid": CLAIM}


@pytest.mark.parametrize("field", ["parameters", "units"])
def test_a_file_of_the_release_without_a_field_is_read(field: str) -> None:
    def without(claim: dict[str, Any]) -> None:
        for share in claim["shares"]:
            share.pop(field, None)

    plain = replace(CLAIM, shares=(replace(SHARE, units={}),))
    before = rewritten(checkpoint.encode({"uid": plain}), without)
    assert checkpoint.decode(before.encode()) == {"uid": plain}


def test_a_file_of_a_later_format_is_told_apart() -> None:
    later = json.loads(checkpoint.encode({"uid": CLAIM})) | {"version": checkpoint.VERSION + 1}
    with pytest.raises(StateError, match=f"version {checkpoint.VERSION + 1} is not known here"):
        checkpoint.decode(json.dumps(later).encode())

"""What was there before comes back byte for byte, unless somebody else changed the file since."""

from types import SimpleNamespace

import pytest

from tests.ansible.loading import plugin

kept = plugin("modules/kept_file.py")


@pytest.fixture
def keep(tmp_path):
    return tmp_path / "hami/kept"


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "config"
    file.write_bytes(b"old \xff bytes")
    file.chmod(0o640)
    return file


def write(path, keep, content, check=False):
    return kept.write(path, keep, content, check)


def restore(path, keep, check=False):
    changed, ours, _ = kept.restore(path, keep, check)
    return changed, ours


def test_the_original_comes_back_with_its_mode(path, keep):
    assert write(path, keep, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o7777 == 0o640
    assert restore(path, keep) == (True, True)
    assert path.read_bytes() == b"old \xff bytes"
    assert path.stat().st_mode & 0o7777 == 0o640
    assert not keep.parent.exists()


def test_a_file_that_was_not_there_goes_again(tmp_path, keep):
    path = tmp_path / "new" / "folder" / "drop-in"
    write(path, keep, b"new")
    restore(path, keep)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_made_for_a_file_stays_when_somebody_else_uses_it(tmp_path, keep):
    path = tmp_path / "new" / "drop-in"
    write(path, keep, b"new")
    (path.parent / "theirs").touch()
    restore(path, keep)
    assert [file.name for file in path.parent.iterdir()] == ["theirs"]


def test_a_link_stays_and_the_file_that_it_leads_to_is_written_and_put_back(path, keep, monkeypatch):
    link = path.with_name("link")
    link.symlink_to(path.name)

    def play(state):
        options = {"path": str(link), "keep": str(keep), "content": "new", "state": state}
        module = SimpleNamespace(params=options, check_mode=False, exit_json=lambda **_: None)
        monkeypatch.setattr(kept, "AnsibleModule", lambda **_: module)
        kept.main()
        return link.is_symlink(), path.read_bytes()

    assert play("written") == (True, b"new")
    assert play("restored") == (True, b"old \xff bytes")
    assert not keep.exists()


def test_the_same_content_is_no_change(path, keep):
    assert not write(path, keep, b"old \xff bytes")
    assert not keep.exists()


def test_a_second_change_of_ours_still_goes_back_to_the_first_original(path, keep):
    write(path, keep, b"one")
    write(path, keep, b"two")
    restore(path, keep)
    assert path.read_bytes() == b"old \xff bytes"


def test_a_file_that_its_owner_changed_since_is_left_alone(path, keep):
    write(path, keep, b"ours")
    path.write_bytes(b"theirs")
    assert restore(path, keep) == (False, False)
    assert path.read_bytes() == b"theirs"


def test_what_the_owner_changed_is_the_original_of_our_next_change(path, keep):
    write(path, keep, b"ours")
    path.write_bytes(b"theirs")
    write(path, keep, b"theirs and ours")
    restore(path, keep)
    assert path.read_bytes() == b"theirs"


def test_undoing_a_second_change_goes_back_to_the_first_and_still_knows_the_original(path, keep):
    write(path, keep, b"one")
    write(path, keep, b"two")
    assert kept.undo(path, keep, False) == (True, True, b"one")
    assert path.read_bytes() == b"one"
    assert kept.undo(path, keep, False)[2] == b"old \xff bytes"
    assert not keep.exists()


def test_undoing_the_only_change_is_putting_the_original_back(path, keep):
    write(path, keep, b"one")
    assert kept.undo(path, keep, False) == (True, True, b"old \xff bytes")
    assert kept.undo(path, keep, False)[:2] == (False, False)


def test_what_somebody_changed_after_us_is_not_undone(path, keep):
    write(path, keep, b"one")
    write(path, keep, b"two")
    path.write_bytes(b"theirs")
    assert kept.undo(path, keep, False)[:2] == (False, False)
    assert path.read_bytes() == b"theirs"


@pytest.mark.parametrize("before", [None, b"one"], ids=["at the first change", "at the second"])
def test_an_interruption_between_record_and_file_harms_nothing(path, keep, monkeypatch, before):
    if before:
        write(path, keep, before)
    unchanged, real = path.read_bytes(), kept.replace

    def stop(target, *rest):
        if target == path:
            raise KeyboardInterrupt
        real(target, *rest)

    monkeypatch.setattr(kept, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write(path, keep, b"ours")
    monkeypatch.setattr(kept, "replace", real)
    assert path.read_bytes() == unchanged
    if before:
        assert kept.undo(path, keep, False) == (False, True, unchanged)
        assert write(path, keep, b"ours")
        assert kept.undo(path, keep, False) == (True, True, unchanged)
    assert restore(path, keep) == (True, True)
    assert path.read_bytes() == b"old \xff bytes"


def test_the_diff_shows_the_changed_lines_and_no_neighbour_of_theirs(path):
    shown = kept.changed_lines(path, b"password = x\ncdi = false\n", b"password = x\ncdi = true\n")
    assert shown.splitlines()[2:] == ["@@ -2 +2 @@", "-cdi = false", "+cdi = true"]
    assert kept.changed_lines(path, None, b"new\n").splitlines()[2:] == ["@@ -0,0 +1 @@", "+new"]
    assert kept.changed_lines(path, b"old\n", None).splitlines()[2:] == ["@@ -1 +0,0 @@", "-old"]


def test_check_mode_only_says_what_would_change(path, keep):
    assert write(path, keep, b"new", check=True)
    assert not keep.exists()
    write(path, keep, b"new")
    assert restore(path, keep, check=True) == (True, True)
    write(path, keep, b"newer")
    assert kept.undo(path, keep, True) == (True, True, b"new")
    assert path.read_bytes() == b"newer"
    assert kept.undo(path, keep, False) == (True, True, b"new")


def test_a_full_disk_leaves_the_file_and_no_rubbish(path, keep, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, keep, b"new")
    assert path.read_bytes() == b"old \xff bytes"
    assert [file.name for file in path.parent.iterdir() if file.name.startswith(".hami-")] == []

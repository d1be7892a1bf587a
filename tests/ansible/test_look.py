"""The module that asks a node several things at once."""

import sys

from tests.ansible.loading import plugin

look = plugin("modules/look.py")


def python(text: str, **more: str) -> dict:
    return look.run({"argv": [sys.executable, "-c", text], **more})


def test_a_command_answers_with_its_output_and_exit_code():
    seen = python("import sys; print('out'); print('bad', file=sys.stderr); sys.exit(3)")
    assert seen == {"rc": 3, "stdout": "out\n", "stderr": "bad\n", "found": False}


def test_of_what_is_searched_only_the_finding_comes_back():
    seen = python("print('x' * 1000 + ' gate 1')", search="gate [1]")
    assert (seen["found"], seen["stdout"]) == (True, "")
    assert not python("print('gate 0')", search="gate [1]")["found"]
    assert not python("print('gate 1'); raise SystemExit(1)", search="gate [1]")["found"]


def test_a_program_that_is_not_there_is_an_answer_too():
    seen = look.run({"argv": ["/nowhere/containerd"]})
    assert (seen["rc"], seen["stderr"]) == (127, "/nowhere/containerd: No such file or directory")


def test_programs_are_found_where_sudo_does_not_look_for_them(monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    seen = look.run({"argv": ["sh", "-c", "echo $PATH"]})
    assert "/usr/local/bin" in seen["stdout"].strip().split(":")


def test_files_are_read_and_missing_ones_told_from_empty_ones(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("a\n")
    assert look.read(tmp_path / "text") == {"exists": True, "text": "a\n"}
    assert look.read(tmp_path / "empty") == {"exists": True, "text": ""}
    assert look.read(tmp_path) == {"exists": True, "text": ""}
    assert look.read(tmp_path / "none") == {"exists": False, "text": ""}
    assert look.read(tmp_path / "text/below") == {"exists": False, "text": ""}

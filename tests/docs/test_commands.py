"""Every command in the documentation is run by a test, or a reason stands in a list."""

import os
import re
import subprocess
import sys

import pytest
import yaml

from tests.cluster.versions import REPO
from tests.docs import blocks

pytestmark = pytest.mark.slow

RUN = blocks.commands("run")
FOLDERS = (
    *("charts/", "docs/", "inventory/", "molecule/", "native/", "playbooks/", "plugins/", "roles/"),
    *("scripts/", "src/", "tests/"),
)


@pytest.mark.native
@pytest.mark.parametrize("block", RUN, ids=lambda block: block.id)
def test_a_block_that_needs_no_cluster_does_what_the_page_says(block, tmp_path):
    folder = os.path.dirname(sys.executable)
    environment = dict(os.environ) | {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        cwd=REPO,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert block.exit in ("any", str(done.returncode)), done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_every_block_of_commands_is_run_or_says_why_not():
    silent = [
        block.id
        for block in blocks.blocks()
        if block.language in blocks.SHELL and block.mark != "not run" and block.mark not in ("run", "cluster")
    ]
    assert silent == [], "see tests/docs/blocks.py; output without commands is a fence `text`"


def test_every_reason_is_a_known_one_and_every_known_one_is_used():
    given = {block.reason: block.id for block in blocks.blocks() if block.mark == "not run"}
    assert {reason: given[reason] for reason in given if reason not in blocks.NOT_RUN} == {}
    assert [reason for reason in blocks.NOT_RUN if reason not in given] == []


def test_the_pages_that_people_begin_with_are_run():
    """A list of excuses must not grow into the rule."""
    begun = {block.page for block in (*RUN, *blocks.commands("cluster"))}
    assert begun >= {
        "README.md",
        "docs/quick-start.md",
        "docs/how-to/share-a-card.md",
        "docs/how-to/ask-for-help.md",
    }


@pytest.mark.parametrize(
    "block", [b for b in blocks.blocks() if b.language == "yaml"], ids=lambda block: block.id
)
def test_yaml_in_a_page_is_yaml(block):
    list(yaml.safe_load_all(block.text))


def test_the_parser_sees_indented_blocks_marks_and_exit_codes():
    text = "1. x\n\n    <!-- run: cluster, exit any -->\n    ```\n    a\n      b\n    ```\n"
    text += "\n<!-- run: exit 1 -->\n```\nc\n```\n"
    first, second = blocks.parse("p", text)
    assert (first.mark, first.exit, first.text) == ("cluster", "any", "a\n  b\n")
    assert (second.mark, second.exit) == ("run", "1")


def test_pages_name_only_files_that_exist():
    """`path/to/file` in back quotes, in every page: from the top of the repository, or beside the page."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=REPO, capture_output=True, text=True, check=True)
    written = {name: (REPO / name).read_text() for name in listed.stdout.split()}
    wrong = [
        f"{page}: {name}"
        for page, text in (written | blocks.pages()).items()
        for name in re.findall(r"`([\w./-]+)`", text)
        if name.startswith(FOLDERS) and "build" not in name
        if not (REPO / name).exists() and not ((REPO / page).parent / name).exists()
    ]
    assert wrong == []

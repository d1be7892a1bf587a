"""The site builds, every link leads somewhere, and nothing is loaded from elsewhere."""

import os
import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from hami_dra.ops.checks import CHECKS
from tests.cluster.versions import REPO
from tests.docs import blocks
from tests.support.browser import Browser

pytestmark = pytest.mark.native


def build(folder, config="mkdocs.yml"):
    command = [
        os.path.join(os.path.dirname(sys.executable), "mkdocs"),
        "build",
        "--strict",
        "--site-dir",
        str(folder),
    ]
    environment = dict(os.environ) | {
        "NO_MKDOCS_2_WARNING": "1",
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
    }
    return subprocess.run(
        [*command, "--config-file", config], cwd=REPO, env=environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = build(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_each_check_of_the_doctor_has_its_page_with_its_remedy(site):
    for check in CHECKS:
        page = (site / "troubleshooting" / check.id / "index.html").read_text()
        assert check.id in page
        assert "Fix it" in page


def test_every_page_can_be_reached_from_the_navigation(site):
    made = {str(path.parent.relative_to(site)) for path in site.rglob("index.html")} - {"."}
    home = (site / "index.html").read_text()
    linked = set(re.findall(r'href="([\w./-]+)/"', home))
    sections = {page.partition("/")[0] for page in made}
    assert sections <= {link.removeprefix("./").partition("/")[0] for link in linked}


def test_a_link_out_of_the_documentation_leads_to_its_page_else_to_the_repository(site):
    assert '<a href="security/">Security</a>' in (site / "index.html").read_text()
    cases = "https://github.com/hami-dra/hami-dra/blob/main/tests/unit/admission/cases"
    assert f'href="{cases}"' in (site / "compatibility-mode/index.html").read_text()
    assert 'href="../node/"' in (site / "changelog/index.html").read_text()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_no_page_loads_anything_from_elsewhere(site):
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server,
        Browser() as browser,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        for page in ("", "monitoring/"):
            browser.open(address + page, drawn="document.querySelector('.md-search-result__meta')")
        server.shutdown()
    assert [each for each in browser.requests if not each.startswith((address, "data:"))] == []


def test_on_a_laptop_no_table_has_to_be_scrolled(site):
    wide = (
        "[...document.querySelectorAll('.md-typeset__scrollwrap')].filter(e => e.scrollWidth > e.clientWidth)"
    )
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server,
        Browser(1280) as browser,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        for page in ("interfaces/", "benchmarks/", "metrics/", "reference/values/"):
            browser.open(address + page, drawn="document.querySelector('.md-typeset__scrollwrap')")
            assert browser.script(f"{wide}.map(e => e.innerText.slice(0, 80))") == [], page
        server.shutdown()


def test_a_link_to_a_file_that_is_not_there_is_left_for_the_build_to_refuse(site):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="node.md"))
    config = SimpleNamespace(repo_url="https://example.com")
    blocks.pages()  # makes the hooks importable
    import hooks

    links = "[gone](../no/such.py) [here](../Makefile)"
    shown = hooks.on_page_markdown(links, page, config)
    assert shown == "[gone](../no/such.py) [here](https://example.com/blob/main/Makefile)"


def test_the_reference_tells_every_value_and_command(site):
    values = (site / "reference/values/index.html").read_text().replace("<wbr>", "")
    for name in ("webhook.replicas", "certs.mode", "drivers.nvidia.containerDriver"):
        assert name in values
    commands = (site / "reference/cli/index.html").read_text()
    assert "hami doctor" in commands
    assert "HAMI_STATE_DIR" in commands


def test_a_link_that_leads_nowhere_and_a_page_that_nobody_finds_stop_the_build(tmp_path):
    """The checks are themselves checked: mkdocs' own severities are easy to lose."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/lost.md").write_text("Nobody finds me.\n")
    (tmp_path / "docs/index.md").write_text("[gone](nowhere.md) and [here](#no-such-part)\n")
    settings = (REPO / "mkdocs.yml").read_text().replace("hooks: [scripts/docs/hooks.py]\n", "")
    config = tmp_path / "mkdocs.yml"
    config.write_text(f"{settings}\nnav: [index.md]\n")
    done = build(tmp_path / "site", str(config))
    assert done.returncode != 0
    assert "nowhere.md" in done.stderr
    assert "lost.md" in done.stderr
    assert "no-such-part" in done.stderr

"""The monitor's page in a real browser: what a person sees, types and hears."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.testclient import TestClient

from hami_dra import http_server
from hami_dra.observe import web
from tests.support.browser import Browser
from tests.support.cluster_page import cluster, serving

CARDS, SHARES = 500, 5000


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(cluster()) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as one:
        yield one


@pytest.fixture
def page(browser: Browser, address: str) -> Browser:
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(address)
    return browser


def count(page: Browser, selector: str) -> int:
    found = page.script(f"document.querySelectorAll({selector!r}).length")
    assert isinstance(found, int)
    return found


def test_every_card_is_a_pair_of_bars_and_every_share_a_part_of_them(page: Browser) -> None:
    assert count(page, ".card") == 14
    held = sum(share.memory > 0 for use in cluster().cards for share in use.shares)
    assert count(page, ".card svg.memory rect") == held
    widths = page.script(
        "[...document.querySelector('.card svg.memory').children]"
        ".reduce((total, rect) => total + rect.width.baseVal.value, 0)"
    )
    first = cluster().cards[0]
    parts = len(first.shares)
    assert widths == pytest.approx(1000 * first.memory / first.card.memory - 3 * parts, abs=1)


def test_who_waits_and_why_is_told_with_the_next_command(page: Browser) -> None:
    text = page.script("document.getElementById('waiting').innerText")
    assert "chat-dev/train-0 waits for room" in text
    assert "kubectl get resourceclaims -A" in text
    assert page.script("document.title").startswith("(2 waiting)")


def test_how_long_a_pod_waits_goes_on_while_nothing_else_changes(page: Browser) -> None:
    assert "for 14 min" in page.script("document.getElementById('waiting').innerText")
    page.script("Date.now = ((now) => () => now() + 7_200_000)(Date.now); refresh(); 0")
    page.until("document.getElementById('waiting').innerText.includes('for 2 h')")


def test_a_monitor_that_hears_no_api_server_does_not_say_that_it_tells_the_present(browser: Browser) -> None:
    for age_s, said in ((web.STALE_S / 2, "Allocations as of"), (web.STALE_S * 2, "since then is not known")):
        with serving(cluster(), heard_at=time.time() - age_s) as address:
            browser.open(address)
            assert said in browser.script("document.querySelector('footer').innerText")


def test_a_screen_reader_is_not_told_the_time_again_and_again(page: Browser) -> None:
    page.script(
        "window.told = []; new MutationObserver((changes) => told.push(...changes))"
        ".observe(document.getElementById('status'), {childList: true, subtree: true}); 0"
    )
    assert "Allocations as of" in page.script("document.getElementById('as-of').innerText")
    page.script("Date.prototype.toLocaleTimeString = () => 'later'; refresh(); 0")
    page.until("document.getElementById('as-of').innerText.includes('later')")
    assert page.script("told.length") == 0


def test_it_loads_nothing_from_elsewhere_and_its_own_policy_forbids_nothing_of_it(
    page: Browser, address: str
) -> None:
    hosts = {urlsplit(request).netloc for request in page.requests}
    assert hosts == {urlsplit(address).netloc}
    assert page.complaints == []


def test_cards_are_walked_with_the_arrow_keys_and_opened_with_enter(page: Browser) -> None:
    page.script("document.querySelector('.card[tabindex=\"0\"]').focus()")
    assert count(page, '.card[tabindex="0"]') == 1, "one stop for Tab, not one for each card"
    label = "document.activeElement.getAttribute('aria-label')"
    assert page.script(label).startswith("hami-gpu-0 on gpu-node-1")
    page.press("ArrowRight")
    assert page.script(label).startswith("hami-gpu-1 on gpu-node-1")
    page.press("End")
    assert page.script(label).startswith("hami-gpu-5 on gpu-node-2")
    page.press("Home", "ArrowDown")
    assert page.script(label).startswith("hami-gpu-4 on gpu-node-1")
    page.press("Enter")
    assert page.script("document.activeElement.getAttribute('aria-expanded')") == "true"
    rows = page.script("document.querySelector('.shares tbody').rows.length")
    assert rows == len(cluster().cards[4].shares)
    page.press("Enter")
    assert count(page, ".shares") == 0


def test_typing_in_the_filter_leaves_the_cards_that_match(page: Browser) -> None:
    page.script("document.getElementById('filter').focus()")
    page.press(*"gpu-node-2")
    assert count(page, ".card") == 6
    assert page.script("document.getElementById('status').innerText").startswith("6 cards shown.")
    page.script("document.getElementById('filter').value = 'speech'; 0")
    page.script("document.getElementById('filter').dispatchEvent(new Event('input')); 0")
    teams = {share.namespace for use in cluster().cards for share in use.shares}
    assert "speech" in teams
    assert 0 < count(page, ".card") < 14


def test_a_screen_reader_hears_the_figures_of_each_card(page: Browser) -> None:
    spoken = page.spoken()
    buttons = [name for role, name in spoken if role == "button"]
    assert any(
        re.fullmatch(
            r"hami-gpu-0 on gpu-node-1, NVIDIA H100 80GB HBM3: \d+ GiB of 80 GiB allocated, "
            r"\d+ % of compute, \d+ shares",
            name,
        )
        for name in buttons
    )
    roles = {role for role, _ in spoken}
    assert {"banner", "main", "heading", "searchbox", "status", "list"} <= roles
    assert all(name for role, name in spoken if role in ("button", "searchbox", "link"))


def colours(page: Browser) -> tuple[str, str]:
    style = "getComputedStyle(document.body)"
    return page.script(f"{style}.backgroundColor"), page.script(f"{style}.color")


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_dark_and_light_follow_the_system_and_both_can_be_read(page: Browser) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        seen[scheme] = colours(page)
        assert contrast(*seen[scheme]) > 12
        for name in ("quiet", "hint"):
            quiet = page.script(f"getComputedStyle(document.querySelector('.{name}')).color")
            assert contrast(quiet, seen[scheme][0]) > 4.5, f"WCAG AA for small text, {scheme}"
        track = page.script("getComputedStyle(document.querySelector('.card svg')).backgroundColor")
        for number in range(7):
            bar = page.script(f"getComputedStyle(document.querySelector('rect.c{number}')).fill")
            assert contrast(bar, track) > 3, f"WCAG 1.4.11 for graphics, {scheme}, colour {number}"
    assert seen["light"] != seen["dark"]


def test_the_button_overrides_the_system(page: Browser) -> None:
    page.prefer("light")
    before = colours(page)
    press = "document.getElementById('theme').click(); 0"
    page.script(press)
    assert colours(page) == before
    page.script(press)
    assert colours(page) != before
    page.script(press)


def test_names_are_shown_as_text_whatever_is_in_them(browser: Browser) -> None:
    plain = cluster(1, 1, 1)
    evil = "<img src=x onerror=document.title='owned'>"
    waiting = [replace(plain.waiting[0], sentence=evil, pod=evil)]
    card = plain.cards[0]
    share = replace(card.shares[0], namespace=evil, pods=(evil,))
    with serving(replace(plain, waiting=waiting, cards=[replace(card, shares=(share,))])) as address:
        browser.open(address)
        browser.script("document.querySelector('.card').click()")
        assert browser.script("document.querySelectorAll('main img').length") == 0
        assert evil in browser.script("document.querySelector('.shares').innerText")


def test_without_any_card_it_says_what_to_do(browser: Browser) -> None:
    with serving(cluster(0, 0, 0)) as address:
        browser.open(address)
        assert "No node publishes a card" in browser.script("document.getElementById('cards').innerText")
        assert browser.script("document.getElementById('waiting-section').hidden")


def test_five_hundred_cards_with_five_thousand_shares_are_drawn_whole(browser: Browser) -> None:
    with serving(cluster(CARDS, SHARES, 50)) as address:
        browser.open(address)
        assert count(browser, ".card") == CARDS
        assert browser.script("document.getElementById('summary').innerText").count("5,000") == 1
        # A wide limit: `tests/bench` measures the time. This catches a redraw that has become quadratic.
        assert float(browser.script("document.documentElement.dataset.renderMs")) < 10_000


def test_before_the_cluster_is_known_a_browser_is_told_to_come_again() -> None:
    client = TestClient(http_server.observability(lambda: False, routes=web.routes(lambda: None)))
    assert client.get("/api/cluster").status_code == 503


def test_a_browser_that_has_the_data_already_is_not_sent_it_again() -> None:
    shown = cluster()
    client = TestClient(http_server.observability(lambda: True, routes=web.routes(lambda: shown)))
    first = client.get("/api/cluster")
    assert client.get("/api/cluster", headers={"If-None-Match": first.headers["ETag"]}).status_code == 304


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/icon.svg", "/api/cluster"])
def test_every_answer_forbids_what_the_page_does_not_need(path: str) -> None:
    client = TestClient(http_server.observability(lambda: True, routes=web.routes(cluster)))
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_files_stay_small() -> None:
    folder = Path(web.__file__).parent / "page"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 30_000

"""The status page in a real browser, with statuses that no machine is needed for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import web

from tests import statuses
from tests.browser import PROGRAM, REASON, Browser, browsing
from tests.node.page_site import serving

pytestmark = pytest.mark.skipif(PROGRAM is None, reason=REASON)

SHOWN = "document.querySelectorAll('#node-rows tr').length"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(autouse=True)
def desk(browser: Browser) -> None:
    """An empty page: the last test's, whose server has gone, would complain."""
    browser.open("about:blank")
    browser.look_like(1200, 900)
    browser.complaints.clear()


def texts(browser: Browser, selector: str) -> list[str]:
    """The texts of what a CSS selector finds."""
    found: list[str] = browser.run(f"[...document.querySelectorAll({selector!r})].map(each => each.textContent)")
    return found


class Told:
    """A status that a test changes while the page looks at it."""

    def __init__(self, first: dict[str, Any]) -> None:
        self.status = first
        self.may_see = True
        self.fails = False

    def __call__(self) -> dict[str, Any]:
        if self.fails:
            raise web.HTTPServiceUnavailable
        return self.status

    def change(self, change: Callable[[dict[str, Any]], object]) -> None:
        changed = copy.deepcopy(self.status)
        change(changed)
        self.status = changed


def test_every_node_is_in_the_table_and_on_the_map(browser: Browser) -> None:
    found = statuses.troubled()
    names = sorted(["hetzner-gw", *(each["name"] for each in (*found["peers"], *found["leases"]))])
    with serving(lambda: found) as url:
        browser.open(f"{url}/")
        browser.wait(f"{SHOWN} === {len(names)}")
        assert sorted(texts(browser, "#node-rows th")) == names
        on_map = browser.run("[...document.querySelectorAll('#map [data-node]')].map(each => each.dataset.node)")
        assert sorted([*on_map, "hetzner-gw"]) == names
        assert texts(browser, "#node-rows tr:first-child th") == ["gcp-1"], "the worst comes first"
        assert texts(browser, ".tile h3") == ["aws-burst", "gcp-burst"]
        assert "aws-burst-91c2aa03 draining" in texts(browser, ".tile li")
        assert "gcp-burst-0d55e1f2 joining" in texts(browser, ".tile li")
        assert len(texts(browser, "#target-rows tr")) == 5
        assert len(texts(browser, "#event-rows tr")) == len(found["events"])
    assert browser.complaints == []


def test_a_node_that_falls_silent_and_comes_back_is_told_in_colour_shape_word_and_speech(browser: Browser) -> None:
    told = Told(statuses.status())
    row = "document.querySelector('#node-rows tr[data-node=\"aws-1\"]')"
    with serving(told) as url:
        browser.open(f"{url}/")
        browser.wait(f"{SHOWN} > 0")
        calm = browser.run(f"getComputedStyle({row}).backgroundColor")
        assert texts(browser, "#verdict .text") == ["all is well"]

        def fall(status: dict[str, Any]) -> None:
            status["peers"][0]["healthy"] = False
            status["alerts"] = [statuses.alert("NodeSilent", "aws-1", "critical", "aws-1 does not answer")]

        told.change(fall)
        browser.wait(f"{row}.dataset.state === 'down'")
        assert browser.run(f"getComputedStyle({row}).backgroundColor") != calm
        assert browser.run(f"{row}.querySelector('use').getAttribute('href')") == "#mark-down"
        assert browser.run(f"{row}.querySelector('.state').textContent") == "silent"
        assert (
            browser.run("document.querySelector('#map [data-node=\"aws-1\"] use').getAttribute('href')") == "#mark-down"
        )
        assert browser.run("document.querySelector('#map [data-node=\"aws-1\"] .link').classList.contains('dead')")
        browser.wait("document.getElementById('announcer').textContent === 'critical: aws-1 does not answer'")
        assert browser.run("document.title").startswith("✖")

        def rise(status: dict[str, Any]) -> None:
            status["peers"][0]["healthy"] = True
            status["alerts"] = []

        told.change(rise)
        browser.wait(f"{row}.dataset.state === 'up'")
        browser.wait("document.getElementById('announcer').textContent === 'over: critical: aws-1 does not answer'")
        assert browser.run("!document.getElementById('no-alerts').hidden")
    assert browser.complaints == []


def test_who_changes_keys_and_who_was_cut_off_is_told_while_there_is_any(browser: Browser) -> None:
    told = Told(statuses.troubled())
    fact = "[...document.querySelectorAll('#facts div')].find(each => each.textContent.startsWith('changing keys'))"
    with serving(told) as url:
        browser.open(f"{url}/")
        browser.wait(f"{SHOWN} > 0")
        assert browser.run(f"{fact}.querySelector('dd').textContent") == "this gateway, waiting for gcp-1; aws-1"
        assert texts(browser, "#revoked-rows th") == ["aws-burst-0badcafe", "hetzner-9"], "the newest first"
        assert texts(browser, "#revoked-rows .long") == ["mined coins", "its disk was sold"]
        dated = texts(browser, "#revoked-rows td:first-child")
        assert ["-" in each for each in dated] == [False, True], "of another day, with its date"

        def rest(status: dict[str, Any]) -> None:
            status["rotation"] = {"phase": None, "missing": [], "nodes": {}}
            status["revoked"] = [statuses.revoked(f"old-{number}", number, "") for number in range(30)]

        told.change(rest)
        browser.wait("document.querySelectorAll('#revoked-rows tr').length === 20")
        assert texts(browser, "#more-revoked") == ["And 10 before: hybridnet revoke --list."]
        assert browser.run(f"{fact} === undefined")
        told.change(lambda status: status.update(revoked=[]))
        browser.wait("document.getElementById('revoked-part').hidden")
    assert browser.complaints == []


def test_names_and_texts_of_those_who_mean_harm_are_shown_as_text(browser: Browser) -> None:
    with serving(statuses.hostile) as url:
        browser.open(f"{url}/")
        browser.wait(f"{SHOWN} > 0")
        assert statuses.HOSTILE in texts(browser, "#node-rows th")
        assert "\"'><img src=x onerror=alert(1)>" in texts(browser, "#node-rows th")
        assert "\\u202egnp.exe\\u2066\\u200b\\ue0041" in texts(browser, "#node-rows th"), "what turns the text is told"
        for part in (
            "#facts dd",
            "#revoked-rows th",
            "#alerts .summary",
            "#pools h3",
            "#target-rows th",
            "#gateway-rows th",
            "#event-rows th",
        ):
            assert any(statuses.HOSTILE in each for each in texts(browser, part)), part
        assert browser.run("document.querySelectorAll('script').length") == 1
        assert browser.run("document.querySelectorAll('img, iframe, object, embed').length") == 0
        assert "owned" not in browser.run("document.title")
        for width in (360, 1200):
            browser.look_like(width, 900)
            browser.wait(f"document.getElementById('map').clientWidth < {width}")
            assert browser.run("document.documentElement.scrollWidth") <= width, "nothing widens the page"
    assert browser.complaints == []


def test_the_policy_holds_whatever_a_script_tries(browser: Browser) -> None:
    with serving(statuses.status) as url:
        browser.open(f"{url}/")
        tries = {
            "html from text": "document.body.innerHTML = '<b>x</b>'",
            "an inline handler": "document.body.setAttribute('onclick', 'document.title=1'), document.body.click()",
            "another place": "fetch('http://127.0.0.2:1/')",
        }
        for what, script in tries.items():
            browser.complaints.clear()
            browser.run(f"(async () => {{ try {{ await ({script}) }} catch {{}} }})()")
            browser.run("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
            assert browser.complaints, what
        assert browser.run("document.title") != "1"


def test_a_gateway_that_does_not_answer_any_more_is_told_and_so_is_its_return(browser: Browser) -> None:
    told = Told(statuses.status())
    with serving(told) as url:
        browser.open(f"{url}/")
        browser.wait(f"{SHOWN} > 0")
        told.fails = True
        browser.wait("!document.getElementById('lost').hidden")
        assert "since" in texts(browser, "#lost")[0]
        assert browser.run("document.body.classList.contains('is-lost')")
        assert browser.run(SHOWN) == 9, "what was known is still there"
        told.fails = False
        browser.wait("document.getElementById('lost').hidden")
        assert texts(browser, "#announcer") == ["The gateway answers again."]


def test_what_the_page_cannot_show_is_not_passed_over(browser: Browser) -> None:
    told = Told(statuses.status())
    with serving(told) as url:
        browser.open(f"{url}/")
        browser.wait(f"{SHOWN} > 0")
        told.change(lambda status: status.pop("peers"))
        browser.wait("document.getElementById('lost').textContent.includes('cannot show')")


def test_who_is_no_administrator_any_more_is_told_why_nothing_moves(browser: Browser) -> None:
    told = Told(statuses.status())
    with serving(told, lambda _: told.may_see) as url:
        browser.open(f"{url}/")
        browser.wait(f"{SHOWN} > 0")
        told.may_see = False
        browser.wait("document.getElementById('lost').textContent.includes('only administrators')")


def test_hundreds_of_nodes_are_found_by_keyboard(browser: Browser) -> None:
    with serving(lambda: statuses.crowd(600)) as url:
        browser.open(f"{url}/")
        browser.wait(f"{SHOWN} === 601")
        for key in ("/", *"gcp silent"):
            browser.press(key)
        browser.wait(f"{SHOWN} === 2")
        assert texts(browser, "#shown") == ["2 of 601 nodes"]
        browser.press("Escape")
        browser.wait(f"{SHOWN} === 601")
        assert len(texts(browser, "#map text")) < 60, "a crowd is shown by marks and not by names"
        assert browser.run("document.querySelectorAll('#map [data-node]').length") == 600
        browser.run("document.querySelector('#node-titles th:nth-child(7) button').focus()")
        browser.press("Enter")
        browser.wait("document.querySelector('#node-titles th:nth-child(7)').getAttribute('aria-sort') === 'ascending'")
        trips = texts(browser, "#node-rows tr:nth-child(-n+20) td:nth-child(7)")
        assert trips == sorted(trips, key=lambda text: float(text.split()[0]))
    assert browser.complaints == []


@pytest.mark.parametrize("width", [360, 768, 1024, 1280])
def test_nothing_has_to_be_scrolled_sideways_on_any_screen(browser: Browser, width: int) -> None:
    browser.look_like(width, 900)
    with serving(statuses.troubled) as url:
        browser.open(f"{url}/")
        browser.wait(f"{SHOWN} > 0")
        assert browser.run("document.documentElement.scrollWidth") <= width
        wide = "[...document.querySelectorAll('.scroll')].filter(each => each.scrollWidth > each.clientWidth)"
        assert browser.run(f"{wide}.map(each => each.textContent.slice(0, 40))") == []


def test_nothing_moves_for_whoever_wants_no_motion(browser: Browser) -> None:
    with serving(statuses.troubled) as url:
        browser.open(f"{url}/")
        browser.wait(f"{SHOWN} > 0")
        assert browser.run("getComputedStyle(document.querySelector('#alerts li')).animationName") == "none"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast_in_both_schemes(browser: Browser, scheme: str) -> None:
    browser.look_like(1200, 900, scheme)
    with serving(statuses.troubled) as url:
        browser.open(f"{url}/")
        browser.wait(f"{SHOWN} > 0")
        faint = browser.run(CONTRAST)
    assert faint == [], "WCAG 2.1, 1.4.3: 4.5 to 1"


CONTRAST = """
(() => {
  const light = (colour) => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255);
    const [red, green, blue] = parts.map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!colour.endsWith(", 0)")) return colour;
    }
    return getComputedStyle(document.body).backgroundColor;
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *:not(script):not(style):not(noscript)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || element.closest("svg") || !element.getClientRects().length) continue;
    const [one, other] = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) faint.push(`${element.textContent.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return faint;
})()
"""


def test_the_page_is_a_document_that_a_screen_reader_finds_its_way_in(browser: Browser) -> None:
    with serving(statuses.troubled) as url:
        browser.open(f"{url}/")
        browser.wait(f"{SHOWN} > 0")
        assert len(texts(browser, "header, main, footer")) == 3
        assert texts(browser, "h1") == ["hetzner-gw"]
        assert browser.run("[...document.querySelectorAll('table')].every(each => each.caption?.textContent)")
        assert browser.run(
            "[...document.querySelectorAll('section')].every(each => each.getAttribute('aria-labelledby'))"
        )
        assert "Silent: gcp-1." in browser.run("document.querySelector('#map svg').getAttribute('aria-label')")
        assert browser.run("document.getElementById('announcer').getAttribute('aria-live')") == "polite"
        browser.press("Tab")
        assert browser.run("document.activeElement.textContent") == "Skip to the nodes"
        assert browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"

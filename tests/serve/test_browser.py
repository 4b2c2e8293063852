"""The page in a real browser: what a reader sees, clicks and types, and what goes wrong.

Chromium is the system's own; nothing is downloaded.
"""

import re
import shutil
import socket
import threading
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from aiayn.decoding.heads import TITLES
from aiayn.serve import page as pages
from tests.support.models import TOKENIZER
from tests.support.pages import ROOT
from tests.support.served import translator, writer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromium"), reason="there is no chromium"),
]

MODELS = {"pair": translator(), "text": writer()}
PAIR: Any = MODELS["pair"].model
SOURCE = "one two three"
EGG, CHICKEN = "one two three four", "four two three one"
SLOW = 120_000
"""Milliseconds; the first answer of each kind waits for a program to be compiled."""
expect.set_options(timeout=SLOW)
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@contextmanager
def serving(*more, port=0):
    """The address of a server with the page and some more routes."""
    app = Starlette(routes=[*more, *pages.Page(MODELS).routes()])
    with socket.create_server(("127.0.0.1", port)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def address():
    with serving() as address:
        yield address


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def opened(chromium, url, may_fail=False, **context):
    """A page that asks no other host, and has nothing to say in its console."""
    with chromium.new_context(**context) as ctx:
        page, said, asked = ctx.new_page(), [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.set_default_timeout(SLOW)
        page.goto(url)
        yield page
        origin = "/".join(url.split("/")[:3]) + "/"
        assert all(each.startswith(origin) for each in asked)
        assert may_fail or said == []


def show(page, text):
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Show", exact=True).click()
    answered(page)


def answered(page):
    """All that is shown is of the text that is asked for; before any answer comes the example."""
    expect(page.locator("#attention")).to_have_count(1)
    expect(page.locator(".stored")).to_have_count(0)
    expect(page.locator("#attention")).to_have_count(1)


def values(page, selector, name):
    return page.locator(selector).evaluate_all(
        "(all, name) => all.map((each) => each.dataset[name])", name
    )


def test_every_number_is_exactly_that_of_attention(chromium, address):
    best = PAIR.translate([SOURCE])[0]
    looks = PAIR.attention(SOURCE, best)
    with opened(chromium, address) as page:
        show(page, SOURCE)
        for kind in ("encoder", "cross", "decoder"):
            wanted = looks.of(kind)
            for layer, head in ((1, 2), (2, 1)):
                thumbnails = page.locator(f"[data-kind={kind}] .thumbnail")
                assert thumbnails.count() == wanted.shape[0] * wanted.shape[1]
                thumbnails.nth(2 * (layer - 1) + head - 1).click()
                named = f"{TITLES[kind]}, layer {layer}, head {head}"
                expect(page.locator("#head-title")).to_have_text(named)
                found = np.array(values(page, "td[data-weight]", "weight"), float)
                assert (found == wanted[layer - 1, head - 1].ravel()).all()
        heads = page.locator(".weights th[scope=row]").all_text_contents()
        assert heads == list(looks.tokens("decoder")[0])


def test_lines_are_as_strong_as_the_weights_and_one_tokens_alone(chromium, address):
    best = PAIR.translate([SOURCE])[0]
    weights = PAIR.attention(SOURCE, best).of("cross")[1, 0]
    with opened(chromium, address) as page:
        show(page, SOURCE)
        page.locator("[data-kind=cross] .thumbnail").nth(2).click()
        page.get_by_label("as lines").check()
        expect(page.locator("td[data-weight]")).to_have_count(0)
        found = np.array(values(page, ".links line", "weight"), float)
        assert (found == weights[weights >= 0.005]).all()
        second = page.locator(".links [data-query='1']")
        page.locator(".links [data-query='0']").focus()
        page.keyboard.press("ArrowDown")
        expect(second).to_be_focused()
        found = np.array(values(page, ".links line", "weight"), float)
        assert (found == weights[1][weights[1] >= 0.005]).all()
        expect(page.locator(".exact output")).to_have_text(str(float(weights[1].max())))
        page.wait_for_url(lambda url: "links=yes" in url)


def test_the_best_outputs_and_a_branch_that_is_forced(chromium, address):
    (wanted,) = PAIR.translate([SOURCE], num_best=3)
    with opened(chromium, address) as page:
        show(page, SOURCE)
        texts = page.locator(".outputs .text").all_text_contents()
        assert texts == [each.text for each in wanted]
        scores = np.array(values(page, ".outputs li", "score"), float)
        np.testing.assert_allclose(scores, [each.score for each in wanted], rtol=1e-5)
        assert page.locator(".node.best").count() == page.locator("path.edge.best").count() + 1

        dropped = page.locator(".node.dropped[data-step='1']").first
        piece = dropped.get_attribute("aria-label").split(":")[1].split(",")[0].strip()
        dropped.click()
        forced = page.locator(".forced .piece")
        expect(forced).to_have_count(2)
        ids = TOKENIZER.ids(forced.all_text_contents())
        assert TOKENIZER.pieces(ids)[1] == piece
        way = page.locator(".node.best[data-step='0'], .node.best[data-step='1']")
        names = [each.get_attribute("aria-label") for each in way.all()]
        assert [TOKENIZER.pieces([n])[0] in name for n, name in zip(ids, names, strict=True)]
        page.get_by_role("button", name="Search freely").click()
        expect(forced).to_have_count(0)
        expect(page.locator(".outputs .text").first).to_have_text(wanted[0].text)


def test_the_egg_and_the_chicken(chromium, address):
    with opened(chromium, address) as page:
        page.get_by_label("A sentence", exact=True).fill(EGG)
        page.get_by_label("Beside it").fill(CHICKEN)
        page.get_by_role("button", name="Compare").click()
        rows = page.locator(".distances tbody tr")
        (length,) = map(len, TOKENIZER.encode([EGG]))
        expect(rows).to_have_count(length + 1)

        def distances():
            found = values(page, "[data-distance]", "distance")
            return np.array(found, float).reshape(length + 1, 4)

        assert not distances()[:, 0].any()
        moved = distances()[:, 1] > 0
        assert moved.any()
        assert (distances()[:, 2:] > 1e-3).all()
        page.get_by_label("with positions").uncheck()
        expect(page.locator("[data-distance]").nth(2)).to_have_text("0.000")
        assert distances().max() < 1e-5
        page.get_by_role("radio", name="layer 2").check()
        expect(page.locator("th.now")).to_have_text("layer 2")
        page.get_by_label("all pieces").check()
        pieces = page.get_by_text(f"all pieces ({TOKENIZER.num_words})")
        expect(pieces).to_be_visible()


def test_next_words_follow_the_sliders_and_go_on(chromium, address):
    with opened(chromium, f"{address}/#model=text&text=one") as page:
        chosen = page.locator("[data-chosen]")
        expect(chosen.first).to_be_visible()
        page.get_by_label("Min p").fill("1")
        expect(page.locator(".kept")).to_have_text("1 of 300 words may be drawn.")
        page.get_by_label("Min p").fill("0")
        page.get_by_label("Top k").fill("2")
        expect(page.locator(".kept")).to_have_text("2 of 300 words may be drawn.")
        assert sum(map(float, values(page, "[data-chosen]", "chosen"))) == pytest.approx(1.0)
        page.get_by_label("Temperature").fill("0")
        expect(page.locator(".kept")).to_have_text("1 of 300 words may be drawn.")
        assert float(values(page, "[data-chosen]", "chosen")[0]) == 1.0
        word = page.locator("table.words th button:enabled").nth(1)
        word.click()
        expect(page.get_by_label("Text", exact=True)).not_to_have_value("one")
        assert page.locator("#beam").count() == 0
        expect(page.locator("#attention")).to_have_count(1)
        assert page.locator("[data-kind]").count() == 1


def test_an_answer_that_breaks_off_is_said(chromium):
    def cut(request):
        async def half():
            yield b'{"source": "one two three", "st'
            raise ConnectionResetError

        return StreamingResponse(half(), media_type="application/json")

    route = Route("/page/api/beam", cut, methods=["POST"])
    with serving(route) as address, opened(chromium, address, may_fail=True) as page:
        page.get_by_label("Text", exact=True).fill(SOURCE)
        page.get_by_role("button", name="Show", exact=True).click()
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("The server does not answer.")
        expect(page.locator(".stored")).to_contain_text("This is a stored example")
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("#trouble")).to_be_focused()


def test_the_example_can_be_played_with(chromium, address):
    with opened(chromium, address, may_fail=True) as page:
        source = page.locator(".stored q").inner_text()
        page.get_by_label("all pieces").check()
        expect(page.get_by_text(f"all pieces ({TOKENIZER.num_words})")).to_be_visible()
        page.locator(".node.dropped").first.click()
        expect(page.get_by_label("Text", exact=True)).to_have_value(source)
        assert "prefix" not in page.url, "its branches are another model's"


@pytest.mark.parametrize(("name", "shown"), [("pair", True), ("text", False)])
def test_the_example_never_shows_before_a_language_model(chromium, address, name, shown):
    count = """
        window.examples = 0;
        new MutationObserver(() => {
          window.examples += document.querySelectorAll(".stored").length;
        }).observe(document, { childList: true, subtree: true });
    """
    held = []
    with chromium.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(SLOW)
        page.add_init_script(count)
        page.route("**/page/api/models", lambda route: held.append(route))
        with page.expect_response("**/example.json"), page.expect_request("**/api/models"):
            page.goto(f"{address}/#model={name}")
        held.pop().continue_()
        expect(page.locator(f"input[value={name}]")).to_be_checked()
        assert bool(page.evaluate("window.examples")) == shown


def test_what_is_of_the_text_before_says_so_and_changes_nothing(chromium, address):
    with opened(chromium, address, may_fail=True) as page:
        show(page, SOURCE)
        page.get_by_label("Text", exact=True).fill("one " * 70)
        page.get_by_role("button", name="Show", exact=True).click()
        expect(page.get_by_role("alert")).to_contain_text("wanted")
        before = page.locator("#beam .stored")
        expect(before).to_have_text(f"Still of {SOURCE}")
        page.locator(".node.dropped").first.click(force=True)
        expect(page.get_by_label("Text", exact=True)).to_have_value(("one " * 70).strip())
        expect(page.locator(".forced .piece")).to_have_count(0)


def test_heads_of_the_translation_before_say_so_where_those_of_another_are_refused(
    chromium, address
):
    with opened(chromium, address, may_fail=True) as page:
        said = iter(["four", "five"])  # of random weights a branch may say the same

        def saying(route):
            found = route.fetch().json()
            found["best"][0]["text"] = next(said)
            route.fulfill(json=found)

        page.route("**/page/api/beam", saying)
        show(page, SOURCE)
        expect(page.locator("#attention .stored")).to_have_count(0)
        refusal = {"status": 400, "json": {"error": "The translation has 70 tokens."}}
        page.route("**/page/api/attention", lambda route: route.fulfill(**refusal))
        page.locator(".node.dropped").first.click(force=True)
        expect(page.locator("#attention .stored")).to_have_text("Still of four")
        expect(page.locator("#attention")).to_have_attribute("aria-busy", "true")


def test_a_foreign_kind_of_heads_in_the_address_is_the_first(chromium, address):
    with opened(chromium, f"{address}/#text={SOURCE}&kind=constructor") as page:
        pressed = page.locator(".thumbnail[aria-pressed=true]")
        expect(pressed).to_have_count(1)


def test_the_example_is_german_whatever_the_models_language(chromium, address):
    def in_french(route):
        found = route.fetch().json()
        for model in found["models"]:
            model["tgt"] = "fr"
        route.fulfill(json=found)

    with chromium.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(SLOW)
        page.route("**/page/api/models", in_french)
        page.goto(address)
        expect(page.locator(".stored")).to_have_count(1)
        expect(page.locator("p.said")).to_have_attribute("lang", "de")
        show(page, SOURCE)
        expect(page.locator("p.said")).to_have_attribute("lang", "fr")


def test_text_that_would_be_code_is_text(chromium, address):
    words = ["<img src=x onerror=alert(1)>", "\u202eשלום עולם", "𝔘𝔫𝔦 🥚", "x" * 30]
    with opened(chromium, address, may_fail=True) as page:
        page.on("dialog", lambda dialog: pytest.fail(dialog.message))
        for text in words:
            page.get_by_label("A sentence", exact=True).fill(text)
            page.get_by_role("button", name="Compare").click()
            (ids,) = TOKENIZER.encode([text.replace("\u202e", "")])
            pieces = [*TOKENIZER.pieces(ids), "</s>"]
            expect(page.locator(".choices .first .piece")).to_have_text(pieces)
        # A model of random weights may say what it cannot read again, which the server refuses.
        page.get_by_label("Text", exact=True).fill("<i>one</i>")
        page.get_by_role("button", name="Show", exact=True).click()
        expect(page.locator(".stored")).to_have_count(0)
        assert page.locator("main img, main i").count() == 0


def test_a_server_that_is_gone_is_said_and_the_last_result_stays(chromium):
    with ExitStack() as server:
        address = server.enter_context(serving())
        with opened(chromium, address, may_fail=True) as page:
            show(page, SOURCE)
            best = page.locator(".outputs .text")
            texts = best.all_text_contents()
            server.close()
            page.get_by_label("Text", exact=True).fill("four five")
            page.get_by_role("button", name="Show", exact=True).click()
            alert = page.get_by_role("alert")
            expect(alert).to_contain_text("does not answer. What you see is the last result.")
            assert best.all_text_contents() == texts
            (wanted,) = PAIR.translate(["four five"])
            with serving(port=int(address.rpartition(":")[2])):
                page.get_by_role("button", name="Try again").click()
                expect(alert).to_have_text("")
                expect(best.first).to_have_text(wanted)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(chromium, address, scheme):
    for where in ("", f"/#text={SOURCE}", "/#model=text&text=one"):
        context = {"color_scheme": scheme, "bypass_csp": True, "reduced_motion": "reduce"}
        with opened(chromium, address + where, **context) as page:
            if where:
                answered(page)
            else:
                expect(page.locator(".stored")).to_have_count(1)
            found = Axe().run(page).response["violations"]
            serious = [each for each in found if each["impact"] in ("serious", "critical")]
            assert [(e["id"], [n["html"] for n in e["nodes"]][:3]) for e in serious] == []


@pytest.mark.parametrize("width", [320, 1200])
def test_no_width_needs_sideways_scrolling(chromium, address, width):
    size = {"width": width, "height": 700}
    with opened(chromium, f"{address}/#text={'one ' * 9}", viewport=size) as page:
        answered(page)
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_long_word_of_the_text_before_breaks_within_320_pixels(chromium, address):
    size = {"width": 320, "height": 700}
    with opened(chromium, address, True, viewport=size) as page:
        show(page, "W" * 30)
        page.get_by_label("Text", exact=True).fill("one " * 70)
        page.get_by_role("button", name="Show", exact=True).click()
        expect(page.locator("#beam .stored")).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth") == 320


def test_the_whole_way_by_keyboard(chromium, address):
    # The branch that is forced at the end may make a text that the model cannot read again.
    with opened(chromium, address, may_fail=True) as page:
        page.get_by_label("Text", exact=True).focus()
        page.keyboard.type(SOURCE)
        page.keyboard.press("Enter")
        answered(page)
        page.locator("[data-kind=cross] .thumbnail").nth(3).focus()
        page.keyboard.press("Enter")
        expect(page.locator("#head-title")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_label("as lines")).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
        cell = page.locator("td:focus")
        assert (cell.get_attribute("data-row"), cell.get_attribute("data-column")) == ("1", "1")
        expect(page.locator(".exact output")).to_have_text(cell.get_attribute("data-weight"))
        page.locator(".node[tabindex='0']").focus()
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.locator(".forced .piece")).to_have_count(1)
        expect(page.locator(".node[data-step='0'][data-place='0']")).to_be_focused()
        page.get_by_role("button", name="Search freely").press("Enter")
        expect(page.locator("#beam-title")).to_be_focused()
        page.locator("canvas.cloud").focus()
        page.keyboard.press("ArrowLeft")


@pytest.mark.parametrize("model", MODELS)
def test_the_tour_leads_to_every_panel_and_names_what_the_panel_names(chromium, address, model):
    sections = re.findall(r"^## ([\d.]+) ", (ROOT / "docs" / "paper.md").read_text(), re.MULTILINE)
    with opened(chromium, f"{address}/#model={model}&text={SOURCE}") as page:
        answered(page)
        stops, panels = page.locator(".tour li"), page.locator("section.panel")
        expect(panels).to_have_count(4)
        names = panels.evaluate_all("(all) => all.map((each) => each.id)")
        assert stops.get_by_role("button").all_text_contents() == names
        for stop, panel in zip(stops.all(), panels.all(), strict=True):
            button = stop.get_by_role("button")
            button.press("Enter")
            expect(panel.locator("h2")).to_be_focused()
            expect(panel.locator("h2")).to_be_in_viewport()
            expect(page.locator(".tour [aria-current=step]")).to_have_text(button.inner_text())
            paper, file = stop.locator(".where").inner_text().rsplit(", ", 1)
            its_paper, its_files = panel.locator(".where").inner_text().split(" · Code: ")
            assert file in its_files.split()
            assert (ROOT / file).is_file()
            for section in re.findall(r"§([\d.]+)", f"{paper} {its_paper}"):
                assert any(each.startswith(section) for each in sections), section


def test_the_address_has_the_state_and_brings_it_back(chromium, address):
    with opened(chromium, address) as page:
        show(page, SOURCE)
        page.locator("[data-kind=decoder] .thumbnail").nth(1).click()
        page.wait_for_url(lambda url: "decoder" in url)  # after the click is drawn
        url = page.url
    assert "text=one" in url.partition("#")[2]
    with opened(chromium, url) as page:
        answered(page)
        pressed = page.locator(".thumbnail[aria-pressed=true]")
        expect(pressed).to_have_attribute("aria-label", "decoder self-attention, layer 1, head 2")


def test_text_is_shown_as_it_grows_where_the_server_writes_so(chromium):
    go_on, seeds = threading.Event(), []

    def parts():
        for part in ("two", " thr"):
            yield f'data: {{"choices": [{{"text": "{part}"}}]}}\r\n\r\n'
        assert go_on.wait(60)
        yield 'data: {"choices": [{"text": "ee"}]}\n\ndata: [DONE]\n\n'

    async def complete(request):
        seeds.append((await request.json())["seed"])
        return StreamingResponse(parts(), media_type="text/event-stream")

    route = Route("/v1/completions", complete, methods=["POST"])
    with serving(route) as address, opened(chromium, f"{address}/#model=text&text=one") as page:
        expect(page.locator(".said")).to_have_text("two thr")
        said = page.locator(".said")
        expect(said).to_have_attribute("aria-busy", "true")
        go_on.set()
        expect(said).to_have_text("two three")
        expect(said).to_have_attribute("aria-busy", "false")
        page.get_by_role("button", name="Draw again").click()
        page.wait_for_url(lambda url: "seed=1" in url)
        expect(said).to_have_text("two three")
    assert seeds == [0, 1]

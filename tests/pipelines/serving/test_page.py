"""The page, in a real browser, of the endpoint as it runs over the embedded store and a snapshot made by hand."""

import json
import re
import shutil
import signal
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from endpoint_process import running
from hypothesis import given
from hypothesis import strategies as st
from planted_lists import TODAY
from planted_snapshot import title, write_snapshot
from playwright.sync_api import expect, sync_playwright

from pipelines.lists.codec import pack
from pipelines.serving import page
from pipelines.serving.page_covers import cover_art
from pipelines.serving.page_signing import SECONDS, caller_in, signed_token
from pipelines.spool import sealed_segments
from pipelines.stores.embedded import EmbeddedStore
from pipelines.stores.user_state import UserState

pytestmark = pytest.mark.slow
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
GENRES = ("Drama", "Comedy", "Crime", "Horror", "Music", "Romance", "Sports", "Fantasy", "Science Fiction", "Family")
TITLES = 80
LISTED, FRESH, EXPLORED = range(1, 51), (79, 80), range(51, 71)
NASTY = """<script>document.title="x"</script><img src=x onerror=alert(1)> & "{{ 7*7 }}" 'Ünïcode' 日本"""
HAS_A_LIST, OPTED_OUT, IS_YOUNG, HAS_NONE = 7, 8, 9, 10
KEY = "a key for tests, long enough"


def name_of(item_id):
    return NASTY if item_id == 1 else f"The Story of {item_id}"


def lay_down(home):
    """A catalogue of eighty titles, and a live run in which user 7 has the first fifty of them."""
    now = datetime.now(UTC)
    titles = [
        title(
            item_id,
            name=name_of(item_id),
            genres=(GENRES[item_id % len(GENRES)],),
            published_at=now - (timedelta(hours=2) if item_id in FRESH else timedelta(days=item_id + 2)),
            maturity=16 if item_id % 2 else 0,
        )
        for item_id in range(1, TITLES + 1)
    ]
    write_snapshot(
        str(home / "snapshots"),
        titles,
        run_id=TODAY,
        explorable=dict.fromkeys(EXPLORED, 1.0),
        fresh=dict.fromkeys(FRESH, [0.5] * 64),
        model_set="0123456789abcdef" * 2,
        audit_id="audit-of-january",
        generated_at=now,
    )
    listed = pack(
        item_ids=LISTED,
        scores=[1 - item_id / 100 for item_id in LISTED],
        sources=[3] * len(LISTED),
        reasons=[0 if item_id % 3 == 0 else 255 for item_id in LISTED],
        history=[75, 76, 77],
        vector=[0.5] * 64,
        generated_at=now - timedelta(hours=9),
    )
    with EmbeddedStore(home / "lists.lmdb") as store:
        attempt = store.open_attempt(TODAY)
        store.put_many(TODAY, attempt, [(user_id, listed) for user_id in (HAS_A_LIST, OPTED_OUT, IS_YOUNG)])
        store.put_trending(TODAY, attempt, listed)
        store.commit_manifest(TODAY, attempt, {})
        store.go_live(TODAY, attempt)
        store.put_state(HAS_A_LIST, UserState(watched=(2, 78)), 0)
        store.put_state(OPTED_OUT, UserState(is_opted_out=True, watched=(2,)), 0)
        store.put_state(IS_YOUNG, UserState(maturity_limit=12), 0)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    made = tmp_path_factory.mktemp("page")
    lay_down(made)
    return made


@pytest.fixture(scope="module")
def endpoint(home):
    with running(home) as (process, port):
        yield process, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def browser():
    assert CHROMIUM is not None, "there is no Chromium on this machine: infra/install-browser installs it"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def tab(browser, base, width=1280, height=900):
    """A tab in which every request goes to the endpoint, and nothing is complained of."""
    context = browser.new_context(base_url=base, viewport={"width": width, "height": height})
    opened, complaints, asked = context.new_page(), [], []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("dialog", lambda dialog: complaints.append(dialog.message))
    opened.on("request", lambda request: asked.append(request.url))
    try:
        yield opened
        assert all(address.startswith(base) for address in asked), asked
        # A page that refuses says so with its status, which the browser mentions.
        assert not [one for one in complaints if "status of 4" not in one], complaints
    finally:
        context.close()


def until(shown, is_so):
    """Wait for it from outside: the page's policy lets nobody evaluate anything in it."""
    for _ in range(200):
        if shown.evaluate(is_so):
            return
        shown.wait_for_timeout(25)
    raise AssertionError(is_so)


def names(shown, within):
    return shown.locator(f"{within} .name").all_text_contents()


def test_a_list_is_shown_with_its_order_reasons_and_what_stands_behind_it(browser, endpoint):
    with tab(browser, endpoint[1]) as shown:
        shown.goto("/")
        shown.get_by_label("User", exact=True).fill(str(HAS_A_LIST))
        shown.get_by_label("Country").fill("de")
        shown.get_by_label("Device").select_option("tv")
        shown.get_by_role("button", name="Show").click()
        assert shown.url.endswith(f"/?user_id={HAS_A_LIST}&country=de&device=tv")
        expect(shown.get_by_role("heading", level=1)).to_have_text(f"User {HAS_A_LIST}")
        facts = dict(
            zip(
                shown.locator(".facts dt").all_text_contents(),
                map(str.strip, shown.locator(".facts dd").all_inner_texts()),
                strict=True,
            )
        )
        assert facts["Comes from"] == "The user's own list"
        assert facts["Read from"] == "Embedded store"
        assert (facts["Run"], facts["Model set"], facts["Audit"]) == (TODAY, "0123456789abcdef" * 2, "audit-of-january")
        assert "9 hours ago" in facts["Made"]
        assert facts["Rules that gave way"] == "None"
        assert "1 already watched" in facts["Held back"]
        cards = shown.locator(".cards > li")
        assert cards.count() == 20
        drawn = names(shown, ".cards > li.explored")
        assert 2 <= len(drawn) <= 4
        assert set(drawn) <= {name_of(item_id) for item_id in EXPLORED}
        for badge in shown.locator(".cards > li.explored .badge").all_inner_texts():
            assert re.fullmatch(r"Exploring drawn with probability \d+\.\d%", badge)
        fresh = names(shown, ".cards > li.fresh")
        assert fresh
        assert set(fresh) <= {name_of(item_id) for item_id in FRESH}
        own = names(shown, ".cards > li:not(.explored):not(.fresh)")
        expected = [name_of(item_id) for item_id in LISTED if item_id != 2][: len(own)]
        assert own == expected
        third = cards.filter(has=shown.get_by_role("heading", name="The Story of 3", exact=True))
        expect(third.locator(".reason")).to_have_text("Because you watched The Story of 75")
        assert names(shown, ".watched") == [name_of(item_id) for item_id in (78, 2, 75, 76, 77)]


def test_the_chronological_feed_of_the_same_user_stands_beside_it(browser, endpoint):
    with tab(browser, endpoint[1]) as shown:
        shown.goto(f"/?user_id={IS_YOUNG}")
        feed = shown.locator(".feed h3").all_text_contents()
        young = [item_id for item_id in (*FRESH, *range(1, 79)) if item_id % 2 == 0]
        assert feed == [name_of(item_id) for item_id in young[:20]]
        # And the list keeps to the same limit.
        assert set(names(shown, ".cards")) <= {name_of(item_id) for item_id in range(2, TITLES + 1, 2)}
        boxes = [shown.locator(place).bounding_box() for place in (".sides > section:first-child", ".feed")]
        assert boxes[0]["x"] + boxes[0]["width"] < boxes[1]["x"]


def test_who_opted_out_is_said_to_have_and_nothing_they_watched_is_shown(browser, endpoint):
    with tab(browser, endpoint[1]) as shown:
        shown.goto(f"/?user_id={OPTED_OUT}")
        expect(shown.locator(".facts")).to_contain_text("the user opted out of personalisation")
        expect(shown.get_by_text("Not read: this user opted out of personalisation.")).to_be_visible()
        assert shown.locator(".watched").count() == 0
        assert names(shown, ".cards") == shown.locator(".feed h3").all_text_contents()


def test_a_user_without_a_list_gets_what_trends(browser, endpoint):
    with tab(browser, endpoint[1]) as shown:
        shown.goto(f"/?user_id={HAS_NONE}")
        expect(shown.get_by_role("heading", name="What trends")).to_be_visible()
        assert shown.locator(".cards > li").count() == 20


@pytest.mark.parametrize("user_id", ["abc", "0", "-1", "9" * 19, "<script>alert(1)</script>", "٣"])
def test_what_is_no_user_is_said_at_the_field(browser, endpoint, user_id):
    with tab(browser, endpoint[1]) as shown:
        answered = shown.goto(f"/?{httpx.QueryParams(user_id=user_id)}")
        assert answered.status == 400
        field = shown.get_by_label("User", exact=True)
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(field).to_have_value(user_id)
        expect(shown.locator(f"#{field.get_attribute('aria-describedby')}")).to_contain_text("whole number")


@pytest.mark.parametrize(("name", "value"), [("Country", "D1"), ("Device", "toaster")])
def test_another_field_that_is_wrong_is_the_one_that_is_marked(browser, endpoint, name, value):
    with tab(browser, endpoint[1]) as shown:
        assert shown.goto(f"/?user_id={HAS_A_LIST}&{name.lower()}={value}").status == 400
        expect(shown.get_by_label(name, exact=True)).to_have_attribute("aria-invalid", "true")
        assert shown.locator("[aria-invalid]").count() == 1


def test_titles_are_text_and_nothing_else(browser, endpoint):
    with tab(browser, endpoint[1]) as shown:
        answered = shown.goto(f"/?user_id={HAS_A_LIST}")
        assert names(shown, ".cards")[0] == NASTY
        assert shown.locator("script, main img, [onerror]").count() == 0
        assert "Marquee" in shown.title()
        policy = answered.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert not shown.evaluate("[...document.querySelectorAll('[style]')].length")
        assert answered.headers["cache-control"] == "no-store"
        assert answered.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("width", [320, 390, 768, 1080, 1920])
def test_it_fits_every_screen(browser, endpoint, width):
    with tab(browser, endpoint[1], width, 800) as shown:
        for path in ("/", f"/?user_id={HAS_A_LIST}", "/?user_id=no"):
            shown.goto(path)
            assert shown.evaluate("document.documentElement.scrollWidth") <= width
        shown.goto(f"/?user_id={HAS_A_LIST}")
        # No word of a cover is cut off at its sides, and everything that can be pressed is large enough for a finger.
        assert not shown.evaluate(
            "[...document.querySelectorAll('.name')].filter(n => n.scrollWidth > n.clientWidth + 1).length"
        )
        sizes = shown.evaluate(
            "[...document.querySelectorAll('button, input, select, nav a')].map(n => n.getBoundingClientRect().height)"
        )
        assert min(sizes) >= 40


def test_it_can_be_used_with_a_keyboard_alone(browser, endpoint):
    with tab(browser, endpoint[1]) as shown:
        shown.goto(f"/?user_id={HAS_A_LIST}")
        reached = []
        for _ in range(12):
            shown.keyboard.press("Tab")
            reached.append(
                shown.evaluate("(at => at.id || at.className || at.innerText.trim())(document.activeElement)")
            )
            outline = shown.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid" or reached[-1] in ("", "skip"), reached
            if reached[-1] == "strip":
                break
        assert reached == ["skip", "brand", "user_id", "country", "device", "Show", "← Previous", "Next →", "strip"]
        shown.set_viewport_size({"width": 390, "height": 800})
        shown.keyboard.press("End")
        shown.keyboard.press("ArrowRight")
        until(shown, "document.querySelector('.strip').scrollLeft > 0")
        shown.goto(f"/?user_id={HAS_A_LIST}")
        shown.keyboard.press("Tab")
        expect(shown.get_by_role("link", name="Skip to content")).to_be_in_viewport()
        shown.keyboard.press("Enter")
        assert shown.evaluate("document.activeElement.tagName") == "MAIN"
        shown.get_by_label("User", exact=True).fill(str(HAS_NONE))
        shown.keyboard.press("Enter")
        expect(shown.get_by_role("heading", level=1)).to_have_text(f"User {HAS_NONE}")


def test_a_screen_reader_finds_its_way(browser, endpoint):
    with tab(browser, endpoint[1]) as shown:
        shown.goto(f"/?user_id={HAS_A_LIST}")
        assert shown.locator("html").get_attribute("lang") == "en"
        for role in ("banner", "main", "search", "navigation"):
            expect(shown.get_by_role(role)).to_have_count(1)
        for name in ("Lately watched", "For this user", "Newest first"):
            expect(shown.get_by_role("region", name=name, exact=True).first).to_be_visible()
        levels = shown.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(h => Number(h.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
        unnamed = shown.evaluate("[...document.querySelectorAll('input, select')].filter(n => !n.labels.length).length")
        assert not unnamed
        ids = shown.evaluate("[...document.querySelectorAll('[id]')].map(n => n.id)")
        assert len(ids) == len(set(ids))
        assert not re.search(r"^\s*- (img|image)\b", shown.locator("main").aria_snapshot(), re.M)


def test_colours_stand_out_from_what_they_stand_on():
    style = (Path(page.__file__).parent / "templates" / "page.css").read_text()
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", style.partition("}")[0]))
    for text in ("text", "muted", "accent", "new", "bad"):
        for ground in ("ground", "raised"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast("#17120a", colours["accent"]) >= 4.5


def contrast(one, other):
    """As WCAG 2 has it."""

    def luminance(colour):
        parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_where_keys_are_set_the_page_wants_one_and_puts_it_in_no_address(browser, home, tmp_path):
    # The store is embedded, and may be read by several.
    with (
        running(home, {"MARQUEE_API_KEYS": json.dumps({"tests": KEY}), "MARQUEE_SPOOL": str(tmp_path)}) as (_, port),
        tab(browser, f"http://127.0.0.1:{port}") as shown,
    ):
        visited = []
        shown.on("framenavigated", lambda frame: visited.append(frame.url))
        assert shown.goto(f"/?user_id={HAS_A_LIST}").status == 401
        assert shown.locator(".card").count() == 0
        shown.get_by_label("Key", exact=True).fill("a key that nobody has")
        shown.get_by_role("button", name="Sign in").click()
        expect(shown.get_by_role("alert")).to_have_text("No caller has this key.")
        shown.get_by_label("Key", exact=True).fill(KEY)
        shown.get_by_role("button", name="Sign in").click()
        shown.get_by_label("User", exact=True).fill(str(HAS_A_LIST))
        shown.keyboard.press("Enter")
        expect(shown.locator(".cards > li")).to_have_count(20)
        assert not [address for address in visited if "key" in address]
        (cookie,) = shown.context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert KEY not in cookie["value"]
        forged_cookie = f"{cookie['name']}={cookie['value'].rpartition('.')[0]}.{'0' * 64}"
        # It opens the page and nothing else.
        assert shown.request.get("/v1/trending").status == 401
        shown.get_by_role("button", name="Sign out").click()
        expect(shown.get_by_label("Key", exact=True)).to_be_visible()
        assert shown.goto("/").status == 401
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.get("/", headers={"authorization": f"Bearer {KEY}"}).status_code == 200
            assert client.get("/", headers={"authorization": "Bearer none"}).status_code == 401
            assert client.get("/", headers={"cookie": forged_cookie}).status_code == 401
            assert client.post("/sign-in", content=b"key=" + b"x" * 100_000).status_code == 401
            assert client.post("/sign-in", content=b"\xff\xfe%ff%00").status_code == 401
            from_elsewhere = client.post("/sign-in", data={"key": KEY}, headers={"sec-fetch-site": "cross-site"})
            assert from_elsewhere.status_code == 401


def test_before_anything_is_published_it_says_so(browser, tmp_path):
    with running(tmp_path) as (_, port), tab(browser, f"http://127.0.0.1:{port}") as shown:
        shown.on("console", lambda _: None)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            assert client.get("/?user_id=7").status_code == 503
        assert shown.goto("/").status == 200


def test_a_look_is_not_remembered_as_served(home, tmp_path):
    with running(home, {"MARQUEE_SPOOL": str(tmp_path / "spool")}) as (process, port):
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            for _ in range(3):
                assert client.get(f"/?user_id={HAS_A_LIST}").status_code == 200
            given = client.get(f"/v1/recommendations/{HAS_A_LIST}").json()["request_id"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    spooled = [record.request_id for segment in sealed_segments(tmp_path / "spool") for record in segment]
    assert spooled == [given]


def test_a_token_counts_for_twelve_hours_with_the_secret_it_was_made_with():
    token = signed_token(b"secret", "café", 1000.0)
    assert caller_in(b"secret", token, 1000.0 + SECONDS - 1) == "café"
    assert caller_in(b"secret", token, 1000.0 + SECONDS + 1) is None
    assert caller_in(b"other", token, 1000.0) is None
    expiry, _, rest = token.partition(".")
    assert caller_in(b"secret", f"{int(expiry) + 1}.{rest}", 1000.0) is None


@given(st.text() | st.from_regex(r"[0-9]{1,12}\.[0-9a-f]{1,512}\.[0-9a-f]{64}", fullmatch=True))
def test_what_we_did_not_sign_names_nobody(token):
    assert caller_in(b"secret", token, 0.0) is None


@given(st.integers(0, 2**32 - 1), st.text())
def test_a_cover_is_made_of_shapes_numbers_and_our_own_colours(item_id, genre):
    drawn = str(cover_art(item_id, genre))
    assert drawn == str(cover_art(item_id, genre))
    text = re.sub(r"</?(svg|g|rect|circle|polygon)\b", "", drawn)
    allowed = (
        "viewBox|preserveAspectRatio|xMidYMid slice|aria-hidden|focusable|true|false|class|art|width|height|transform|"
        "matrix|points|fill|none|stroke-width|stroke|opacity|cx|cy|rx|r|x|y|hsl"
    )
    assert re.fullmatch(rf'(?:{allowed}|[-0-9.,%() ="/>])*', text), text

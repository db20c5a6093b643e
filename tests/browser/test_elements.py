"""The elements of the template tags in a browser: live, in order, once, and safe."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.sessions.models import Session

import django_dbos as dbos
from django_dbos.executor import Executor
from tests.browser.chromium import Chromium
from tests.browser.servers import Server
from tests.browser.workflows import Narrator, count, draft
from tests.waiting import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]

EVIL = [
    "<script>window.isHacked = true</script>",
    "<img src=x onerror='window.isHacked = true'>",
    "\"'><svg onload=window.isHacked=true>",
    "</dbos-stream></template><script>window.isHacked = true</script>",
    "javascript:window.isHacked=true",
    "{{ constructor.constructor('window.isHacked = true')() }}",
    "${window.isHacked = true}",
    "\u2028\u202e&lt;b&gt; Ünï 💥",
]


def address(server: Any, name: str, *workflow_ids: str, **query: str) -> str:
    """The address of a page: `key` is what it shows, `token` and `websocket` are how."""
    asked = urlencode({"workflow_id": workflow_ids, **query}, doseq=True)
    return f"{server.url}/show/{name}/?{asked}"


def items(page: Chromium) -> list[str]:
    found: list[str] = page.run(
        "[...document.querySelectorAll('.dbos-entries > li')].map(item => item.textContent)"
    )
    return found


def state(page: Chromium) -> str | None:
    return page.run("document.querySelector('[data-kind], [data-state]').dataset.state ?? ''")


def part(page: Chromium, name: str) -> str:
    return str(page.run(f"document.querySelector('.dbos-{name}').textContent"))


@pytest.mark.parametrize("source", ["progress", "progress-of-stream"])
def test_a_progress_bar_moves(viewer: Chromium, server: Server, source: str) -> None:
    narrator = Narrator()
    write: Callable[..., None] = narrator.set if source == "progress" else narrator.write
    write("progress", {"done": 1, "total": 8, "text": "Unpacking"})
    shows = 'document.querySelector("progress")'
    read_back(narrator, source)

    viewer.go(address(server, source, narrator.workflow_id, key="progress"))
    assert "12\N{NO-BREAK SPACE}%" in viewer.text
    assert "Unpacking" in viewer.text
    assert viewer.run(f"[{shows}.value, {shows}.max]") == [1, 8]

    write("progress", {"done": 5, "total": 8, "text": "Sorting"})
    viewer.wait_for_text("62\N{NO-BREAK SPACE}%")
    assert "Unpacking" not in viewer.text

    write("progress", "Nobody knows how long")
    viewer.wait_for_text("Nobody knows how long")
    assert viewer.run(f"{shows}.matches(':indeterminate')")

    write("progress", 100)
    viewer.wait_for_text("100\N{NO-BREAK SPACE}%")
    narrator.end()
    viewer.wait(lambda: state(viewer) == "ended")
    assert viewer.complaints() == []


def read_back(narrator: Narrator, source: str) -> None:
    """Wait until the first value is there."""
    if source == "progress":
        dbos.get_event(narrator.workflow_id, "progress")
    else:
        next(iter(dbos.read_stream(narrator.workflow_id, "progress")))


def test_a_list_goes_on_after_the_entries_of_the_page(viewer: Chromium, server: Server) -> None:
    narrator = Narrator()
    narrator.write("log", "one", {"text": "two", "more": 2}, ["three"])
    wait_for_entries(narrator, "log", 3)

    viewer.go(address(server, "stream", narrator.workflow_id, key="log"))
    assert items(viewer) == ["one", "two", '["three"]']

    narrator.write("log", "four", 5, None, True)
    viewer.wait(lambda: len(items(viewer)) == 7)
    assert items(viewer)[3:] == ["four", "5", "", "true"]
    narrator.end()
    viewer.wait(lambda: state(viewer) == "ended")
    assert viewer.complaints() == []


def wait_for_entries(narrator: Narrator, key: str, number: int) -> None:
    entries = dbos.read_stream(narrator.workflow_id, key).entries()
    assert [offset for offset, _ in zip(range(number), entries, strict=False)] == [*range(number)]


def test_a_list_keeps_its_last_items(viewer: Chromium, server: Server) -> None:
    narrator = Narrator()
    narrator.write("log", *range(10))
    wait_for_entries(narrator, "log", 10)

    viewer.go(address(server, "short-stream", narrator.workflow_id, key="log"))
    assert items(viewer) == ["7", "8", "9"]

    narrator.write("log", 10, 11)
    viewer.wait(lambda: items(viewer) == ["9", "10", "11"])


def test_tokens_of_a_model_become_one_text(viewer: Chromium, server: Server) -> None:
    narrator = Narrator()
    narrator.write("answer", "Dur", "able")
    wait_for_entries(narrator, "answer", 2)

    viewer.go(address(server, "text", narrator.workflow_id, key="answer"))
    assert part(viewer, "entries") == "Durable"

    narrator.write("answer", " work\n", "flows", ".")
    viewer.wait(lambda: part(viewer, "entries") == "Durable work\nflows.")
    busy = "document.querySelector('.dbos-entries').getAttribute('aria-busy')"
    assert viewer.run(busy) == "true"
    narrator.end()
    viewer.wait(lambda: viewer.run(busy) == "false")


def test_an_event_shows_its_label(viewer: Chromium, server: Server) -> None:
    narrator = Narrator()
    viewer.go(address(server, "event", narrator.workflow_id, key="status"))
    assert part(viewer, "text") == "nothing yet"

    narrator.set("status", "awaiting_payment")
    viewer.wait_for_text("Waiting for your payment")
    assert viewer.run("document.querySelector('dbos-event').dataset.value") == "awaiting_payment"

    narrator.set("status", "paid")
    viewer.wait(lambda: part(viewer, "text") == "paid")


VALUES = [
    "text",
    "",
    7,
    0.5,
    None,
    True,
    {"text": "words", "done": 3, "total": 7},
    {"done": -1, "total": 0},
    {"done": 99, "total": 10, "text": {"deep": 1}},
    {"text": 5},
    [1, {"a": "ü"}],
    *EVIL,
]


@pytest.mark.parametrize("name", ["progress", "stream", "text", "event"])
def test_the_script_shows_values_as_the_server_does(
    viewer: Chromium, server: Server, name: str
) -> None:
    """Else an element would change its look with the first value after the page."""
    write = Narrator.write if name in ("stream", "text") else Narrator.set
    narrators = [Narrator() for _ in VALUES]
    page = address(server, name, *(narrator.workflow_id for narrator in narrators), key="k")

    viewer.go(page)
    for narrator, value in zip(narrators, VALUES, strict=True):
        write(narrator, "k", value)
        narrator.end()
    viewer.wait(lambda: are_over(viewer, len(VALUES)))
    live = looks_of(viewer)
    viewer.go(page)
    viewer.wait(lambda: are_over(viewer, len(VALUES)))

    assert live == looks_of(viewer)
    assert viewer.complaints() == []
    assert viewer.run("window.isHacked === undefined")


def are_over(page: Chromium, number: int) -> bool:
    return bool(page.run("document.querySelectorAll('[data-state=ended]').length") == number)


def looks_of(page: Chromium) -> list[str]:
    """The elements without the places that they go on from, and without white space between."""
    found: list[str] = page.run(
        """[...document.querySelectorAll("main > :not(h1)")].map((element) => {
          const data = Object.entries(element.dataset).sort();
          const kept = data.filter(([name]) => name !== "offset" && name !== "version");
          const inside = element.innerHTML.replace(/>\\s+/g, ">").replace(/\\s+</g, "<");
          return JSON.stringify(kept) + inside;
        })"""
    )
    return found


def test_evil_names_stay_text(viewer: Chromium, server: Server) -> None:
    for text in EVIL:
        narrator = Narrator(workflow_id=text)
        narrator.write(text, text)
        narrator.set(text, text)
        wait_for_entries(narrator, text, 1)
        dbos.get_event(text, text)
        viewer.go(address(server, "all", text, key=text))
        narrator.write(text, text)
        narrator.end()
        viewer.wait(lambda: len(items(viewer)) == 2)

        assert items(viewer) == [text, text]
        assert part(viewer, "answer").startswith(text)
    assert viewer.run("window.isHacked === undefined")
    assert viewer.complaints() == []


def test_pages_read_without_scripts(viewer: Chromium, server: Server) -> None:
    narrator = Narrator()
    narrator.write("k", "an entry")
    narrator.set("k", {"done": 1, "total": 4, "text": "a quarter"})
    wait_for_entries(narrator, "k", 1)
    dbos.get_event(narrator.workflow_id, "k")
    viewer.set_scripts(are_run=False)

    viewer.go(address(server, "all", narrator.workflow_id, key="k"))

    assert "25\N{NO-BREAK SPACE}%" in viewer.text
    assert "a quarter" in viewer.text
    assert "an entry" in viewer.text


def test_strangers_see_nothing(browser: Chromium, server: Server) -> None:
    narrator = Narrator()
    narrator.write("k", "secret")
    narrator.set("k", "secret")
    wait_for_entries(narrator, "k", 1)
    dbos.get_event(narrator.workflow_id, "k")

    for workflow_id in (narrator.workflow_id, "no-such-workflow"):
        browser.go(address(server, "all", workflow_id, key="k"))
        assert "secret" not in browser.text
        assert browser.text.count("Log in to follow this.") == 4
        assert browser.run("document.querySelector('[data-workflow]') === null")


def test_a_token_opens_one_stream(browser: Chromium, server: Server) -> None:
    narrator = Narrator()
    narrator.write("k", "shown")
    wait_for_entries(narrator, "k", 1)
    token = dbos.stream_token(narrator.workflow_id, keys=["k"])

    browser.go(address(server, "stream", narrator.workflow_id, key="k", token=token))
    assert items(browser) == ["shown"]
    narrator.write("k", "live")
    browser.wait(lambda: items(browser) == ["shown", "live"])

    browser.go(address(server, "stream", narrator.workflow_id, key="other", token=token))
    assert "You may not follow this." in browser.text


def test_a_page_whose_token_expires_says_so(browser: Chromium, server: Server) -> None:
    narrator = Narrator()
    for max_age in (1, 5, 25):
        token = dbos.stream_token(narrator.workflow_id, max_age=max_age)
        browser.go(address(server, "stream", narrator.workflow_id, key="k", token=token))
        if "You may not follow this." not in browser.text:
            break
        # On a machine that is busy the token has expired before the page is made.

    browser.wait_for_text("This page has expired. Reload it.")
    assert state(browser) == "expired"


def test_a_page_of_somebody_who_logs_out_says_so(viewer: Chromium, server: Server) -> None:
    narrator = Narrator()
    narrator.write("k", "before")
    viewer.go(address(server, "stream", narrator.workflow_id, key="k"))
    viewer.wait(lambda: state(viewer) == "live")

    Session.objects.all().delete()
    viewer.wait(lambda: state(viewer) == "login")
    narrator.write("k", "after")
    wait_for_entries(narrator, "k", 2)

    assert "Log in to follow this." in viewer.text
    assert items(viewer) == ["before"]


TRANSPORTS = ["websocket", "events", "polls"]


def how_of(page: Chromium, server: Server, transport: str) -> dict[str, str]:
    """The query string for a page that has no better transport than this one."""
    if transport == "polls":
        page.set_cookie(server.url, "without_events", "1")
    return {} if transport == "websocket" else {"websocket": "no"}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_each_transport_brings_streams_and_events(
    viewer: Chromium, server: Server, transport: str
) -> None:
    how = how_of(viewer, server, transport)
    narrator = Narrator()
    narrator.write("k", "before")
    narrator.set("k", "before")
    wait_for_entries(narrator, "k", 1)
    dbos.get_event(narrator.workflow_id, "k")
    before = len(server.output)
    viewer.go(address(server, "both", narrator.workflow_id, key="k", **how))

    for number in range(20):
        narrator.write("k", number)
    narrator.set("k", "after")
    viewer.wait(lambda: part(viewer, "text") == "after")
    viewer.wait(lambda: len(items(viewer)) == 21)
    narrator.end()
    viewer.wait(lambda: are_over(viewer, 2))

    assert items(viewer) == ["before", *map(str, range(20))]
    asked = server.output[before:]
    assert ("WebSocket /ws/dbos/streams/" in asked) == (transport == "websocket")
    assert ("live=sse" in asked) == (transport != "websocket")
    assert ('" 502 ' in asked) == (transport == "polls")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nothing_is_lost_when_the_server_is_killed(
    viewer: Chromium, server: Server, transport: str
) -> None:
    how = how_of(viewer, server, transport)
    narrator = Narrator()
    narrator.write("log", *range(50))
    viewer.go(address(server, "stream", narrator.workflow_id, key="log", **how))
    viewer.wait(lambda: len(items(viewer)) == 50)

    for number in range(50, 200, 50):
        server.kill()
        narrator.write("log", *range(number, number + 25))
        viewer.wait(lambda: state(viewer) == "reconnecting")
        assert "Reconnecting" in viewer.text
        server.start()
        narrator.write("log", *range(number + 25, number + 50))
        viewer.wait(lambda: state(viewer) == "live")

    narrator.end()
    viewer.wait(lambda: state(viewer) == "ended")
    assert items(viewer) == [str(number) for number in range(200)]
    assert "Reconnecting" not in viewer.text


# Random numbers of a seed; each pause that was drawn by one is noted, and short.
SEEDED = """
window.pauses = [];
let seed = 20261129, drawn = null;
Math.random = () => {
  seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
  drawn = seed / 2_147_483_648;
  return drawn;
};
const setTimer = window.setTimeout.bind(window);
window.setTimeout = (call, time, ...others) => {
  const isDrawn = drawn !== null;
  if (isDrawn) window.pauses.push([drawn, time]);
  drawn = null;
  return setTimer(call, isDrawn ? 20 : time, ...others);
};
"""


def test_pauses_grow_and_are_random(viewer: Chromium, server: Server) -> None:
    """The tabs of many people don't return at once, nor all too often."""
    narrator = Narrator()
    narrator.write("log", "one")
    wait_for_entries(narrator, "log", 1)
    viewer.go(address(server, "stream", narrator.workflow_id, key="log"))
    viewer.wait(lambda: state(viewer) == "live")
    viewer.run(SEEDED)

    def lose(number: int) -> list[tuple[float, float]]:
        """Kill the server; return the numbers and the pauses before so many attempts."""
        viewer.run("window.pauses.length = 0")
        server.kill()
        viewer.wait(lambda: viewer.run("window.pauses.length") >= number)
        return [(drawn, pause) for drawn, pause in viewer.run("window.pauses")][:number]

    found = lose(9)
    spans = [round(pause / (0.5 + drawn)) for drawn, pause in found]
    assert spans in ([*SPANS, 30_000], [500, *SPANS])
    assert len({drawn for drawn, _ in found}) == 9
    assert all(
        span * 0.5 <= pause < span * 1.5 for span, (_, pause) in zip(spans, found, strict=True)
    )

    # A good connection makes pauses short again.
    server.start()
    viewer.wait(lambda: state(viewer) == "live")
    narrator.write("log", "two")
    viewer.wait(lambda: items(viewer) == ["one", "two"])
    ((drawn, pause),) = lose(1)
    assert round(pause / (0.5 + drawn)) == 500
    server.start()
    narrator.end()
    viewer.wait(lambda: state(viewer) == "ended")


# In milliseconds, before they are multiplied by a random number from 0.5 to 1.5.
SPANS = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]


@pytest.mark.usefixtures("site_of_live_server")
def test_a_wsgi_server_brings_streams_and_events(operator: Chromium, live_server: Any) -> None:
    """It has no websockets, which the page tries first."""
    narrator = Narrator()
    operator.go(address(live_server, "both", narrator.workflow_id, key="k"))

    narrator.write("k", *range(20))
    narrator.set("k", "after")
    operator.wait(lambda: part(operator, "text") == "after")
    operator.wait(lambda: len(items(operator)) == 20)
    narrator.end()
    operator.wait(lambda: state(operator) == "ended")

    assert items(operator) == [str(number) for number in range(20)]


@pytest.fixture
def site_of_live_server(settings: Any) -> None:
    settings.ROOT_URLCONF = "tests.browser.site"


def test_a_hidden_page_is_paused(viewer: Chromium, server: Server) -> None:
    narrator = Narrator()
    viewer.go(address(server, "stream", narrator.workflow_id, key="log"))
    viewer.wait(lambda: state(viewer) == "live")

    with viewer.hidden():
        viewer.wait(lambda: state(viewer) == "paused")
        narrator.write("log", "missed")
        wait_for_entries(narrator, "log", 1)
        assert items(viewer) == []

    viewer.wait(lambda: items(viewer) == ["missed"])
    assert state(viewer) == "live"


@pytest.mark.parametrize("is_hidden", [False, True])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_page_of_a_workflow_that_is_rewound_begins_anew(
    viewer: Chromium, server: Server, transport: str, is_hidden: bool
) -> None:
    handle = draft.start()
    first = handle.get_event("k")
    how = how_of(viewer, server, transport)
    viewer.go(address(server, "both", handle.workflow_id, key="k", **how))
    viewer.wait(lambda: state(viewer) == "live")
    assert (items(viewer), part(viewer, "text")) == (entries_of(first), first)

    def rewind() -> str:
        eventually(lambda: handle.get_status() == "WAITING")
        handle.rewind(1)
        return str(handle.get_event("k"))

    if is_hidden:
        with viewer.hidden():
            viewer.wait(lambda: state(viewer) == "paused")
            second = rewind()
    else:
        second = rewind()

    viewer.wait(lambda: part(viewer, "text") == second != first)
    viewer.wait(lambda: items(viewer) == entries_of(second))
    viewer.wait(lambda: state(viewer) == "live")


FOLLOW = """import("/static/django_dbos/live.js").then(({ follow }) => {
  window.found = [];
  follow({
    kind: "stream", workflowId: "%s", key: "k", websocket: "/ws/dbos/streams/",
    onValue: (value, { tag }) => window.found.push([value, tag]),
    onRestart: () => { window.found = []; },
    onState: (state) => { document.querySelector("main").dataset.state = state; },
  });
})"""


def test_a_script_over_websockets_alone_learns_of_a_rewind_during_its_break(
    viewer: Chromium, server: Server
) -> None:
    handle = draft.start()
    first = handle.get_event("k")
    viewer.go(address(server, "event", Narrator().workflow_id, key="k"))
    viewer.run(FOLLOW % handle.workflow_id)

    def found() -> tuple[list[str], int]:
        """Return the values, and the number of their tags."""
        pairs = viewer.run("window.found ?? []")
        return [value for value, _ in pairs], len({tag for _, tag in pairs if tag})

    viewer.wait(lambda: found() == (entries_of(first), 1))
    tag = viewer.run("window.found[0][1]")

    with viewer.hidden():
        viewer.wait(lambda: viewer.run("document.querySelector('main').dataset.state") == "paused")
        eventually(lambda: handle.get_status() == "WAITING")
        handle.rewind(1)
        second = str(handle.get_event("k"))

    viewer.wait(lambda: found() == (entries_of(second), 1))
    assert viewer.run("window.found[0][1]") != tag


def entries_of(name: str) -> list[str]:
    return [f"{name}.{number}" for number in range(3)]


def test_an_element_that_is_taken_away_and_put_back_goes_on(
    viewer: Chromium, server: Server, worker: Executor
) -> None:
    workflow_id = count.start(100).workflow_id
    viewer.go(address(server, "stream", workflow_id, key="numbers"))
    viewer.wait(lambda: len(items(viewer)) > 3)

    viewer.run("(window.taken = document.querySelector('dbos-stream')).remove()")
    viewer.run("document.querySelector('main').append(window.taken)")

    viewer.wait(lambda: state(viewer) == "ended")
    assert items(viewer) == [str(number) for number in range(100)]


def test_a_listener_may_show_values_itself(viewer: Chromium, server: Server) -> None:
    narrator = Narrator()
    viewer.go(address(server, "stream", narrator.workflow_id, key="log"))
    viewer.run(
        """addEventListener("dbos:value", (event) => {
          if (event.detail.value === "mine") event.preventDefault();
          (window.seen ??= []).push([event.detail.offset, event.detail.value]);
        })"""
    )
    narrator.write("log", "mine", "yours")
    narrator.end()
    viewer.wait(lambda: state(viewer) == "ended")

    assert items(viewer) == ["yours"]
    assert json.loads(json.dumps(viewer.run("window.seen"))) == [[0, "mine"], [1, "yours"]]

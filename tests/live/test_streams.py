"""Streams for many readers: in order, once, by few looks; a slow reader costs nobody anything."""

from __future__ import annotations

import asyncio
import random
import threading
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from django.db.models import QuerySet

from django_dbos import serializers
from django_dbos.exceptions import WorkflowDoesNotExist
from django_dbos.live import feed as feed_module
from django_dbos.live import following, stream_feeds, threads
from django_dbos.live.following import follow_events, follow_stream, read_stream_page
from django_dbos.live.frames import End, Frame, StreamPage
from django_dbos.live.hub import Hub, _hubs
from django_dbos.live.looks import Entries
from django_dbos.live.readers import Reason, Refused
from django_dbos.models import StreamEntry, Workflow
from django_dbos.store import errors, get_store
from django_dbos.store.reader import Reader as StoreReader
from django_dbos.store.records import EventVersions, PageWanted, VersionsWanted
from django_dbos.testing import run_until_idle
from tests.live.workflows import collect, entries, sets_events, started, superuser, waits, write
from tests.waiting import LIMIT, aeventually


@pytest.fixture(autouse=True)
def _no_rechecks(settings: Any) -> None:
    """Keep the reader's user, who isn't in the database."""
    settings.DBOS = {**settings.DBOS, "RECHECK": None}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[str, int]]]:
    """Record the reads of pages: of each, the keys and offsets."""
    found: list[list[tuple[str, int]]] = []
    kept = type(get_store().reader)
    read = kept.read_pages

    def counted(self: StoreReader, wanted: Any) -> Any:
        found.append([(one.key, one.offset) for one in wanted])
        return read(self, wanted)

    monkeypatch.setattr(kept, "read_pages", counted)
    return found


async def next_page(pages: AsyncIterator[StreamPage]) -> StreamPage:
    async with asyncio.timeout(LIMIT):
        return await anext(pages)


async def caught_up(pages: AsyncIterator[StreamPage]) -> tuple[list[int], StreamPage]:
    """Read until all is sent; return the offsets and the last page.

    A notification during a look, such as that of the listener's start, takes another page.
    """
    offsets: list[int] = []
    while True:
        page = await next_page(pages)
        offsets += [frame.offset for frame in page.frames]
        if page.is_up_to_date:
            return offsets, page


def follow(workflow_id: str, offset: int = 0, key: str = "s") -> Any:
    return aclosing(follow_stream(superuser(), workflow_id, key, offset=offset))


async def test_a_reader_is_told_that_it_has_all(async_db: None) -> None:
    workflow_id = await started()
    await write(workflow_id, "1", '{"a":2}')

    async with follow(workflow_id) as pages:
        offsets, page = await caught_up(pages)
        await write(workflow_id, "3", first=2)
        later, _ = await caught_up(pages)
        await write(workflow_id, first=3, is_end=True)
        none, last = await caught_up(pages)
        with pytest.raises(StopAsyncIteration):
            await next_page(pages)

    assert (offsets, page.next_offset, page.end) == ([0, 1], 2, None)
    assert later == [2]
    assert (none, last.next_offset, last.end) == ([], 3, End.CLOSED)


async def test_an_empty_stream_is_up_to_date(async_db: None) -> None:
    workflow_id = await started()

    async with follow(workflow_id) as pages:
        none, page = await caught_up(pages)
        await write(workflow_id, '"x"')
        offsets, _ = await caught_up(pages)

    assert (none, page.next_offset, page.end) == ([], 0, None)
    assert offsets == [0]


async def test_values_of_other_types_are_plain(async_db: None) -> None:
    workflow_id = await started()
    await write(workflow_id, '{"$tuple":[1,2]}', '{"$dict":[["$a",1]]}', '"{\\"$x"')

    async with follow(workflow_id) as pages:
        frames = (await next_page(pages)).frames

    assert [frame.json_text for frame in frames] == ["[1,2]", '{"$a":1}', '"{\\"$x"']


@pytest.mark.parametrize("kind", ["stream", "event"])
async def test_values_are_decoded_while_the_loop_goes_on(
    async_db: None, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The decoder waits for what only the loop can do meanwhile."""
    if kind == "stream":
        workflow_id = await started()
        await write(workflow_id, "1")
    else:
        workflow_id = (await sets_events.astart({"k": 1})).workflow_id
        await sync_to_async(run_until_idle)()
    decodes, is_released = threading.Event(), threading.Event()
    was_released: list[bool] = []
    to_plain_text = serializers.to_plain_text

    def slowly(text: str) -> str:
        decodes.set()
        was_released.append(is_released.wait(LIMIT))
        return to_plain_text(text)

    monkeypatch.setattr(serializers, "to_plain_text", slowly)

    async def read() -> list[Any]:
        user = superuser()
        pages: Any = (
            follow_stream(user, workflow_id, "s")
            if kind == "stream"
            else follow_events(user, workflow_id)
        )
        async with aclosing(pages):
            return await collect(pages, 1)

    reading = asyncio.create_task(read())
    await aeventually(decodes.is_set)
    is_released.set()
    (frame,) = await reading

    assert was_released == [True]
    assert frame.json_text == "1"


async def test_calls_for_live_data_have_a_thread_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Outside of tests."""
    monkeypatch.setattr(threads, "is_testing", lambda: False)

    name = await threads.in_thread(lambda: threading.current_thread().name)

    assert name.startswith("dbos-live")


async def test_many_readers_share_a_look_and_an_encoding(
    async_db: None, looks: list[list[tuple[str, int]]]
) -> None:
    workflow_id = await started()
    readers = 50
    told = [0]

    async def read() -> Any:
        async with follow(workflow_id) as pages:
            await caught_up(pages)
            told[0] += 1
            while not (frames := (await next_page(pages)).frames):
                pass
            return frames[0]

    reading = [asyncio.create_task(read()) for _ in range(readers)]
    await aeventually(lambda: told[0] == readers)
    looks.clear()
    await write(workflow_id, '"shared"')
    found = await asyncio.gather(*reading)

    assert len({id(frame) for frame in found}) == 1
    assert [frame.form("test", lambda _: "first") for frame in found] == ["first"] * readers
    assert found[0].form("test", lambda _: "later") == "first"
    # Not one a reader; on SQLite the listener may have noticed the commit, too.
    assert len([look for call in looks for look in call]) < 10


async def test_the_looks_of_many_streams_are_one_statement(
    async_db: None, looks: list[list[tuple[str, int]]]
) -> None:
    workflow_id = await started()
    keys = [f"key-{number:03}" for number in range(100)]
    told = [0]

    async def read(key: str) -> list[int]:
        async with follow(workflow_id, key=key) as pages:
            await caught_up(pages)
            told[0] += 1
            while not (frames := (await next_page(pages)).frames):
                pass
            return [frame.offset for frame in frames]

    reading = [asyncio.create_task(read(key)) for key in keys]
    await aeventually(lambda: told[0] == len(keys))
    looks.clear()
    rows = [row for key in keys for row in entries(workflow_id, ["1"], 0, key)]
    await sync_to_async(QuerySet(StreamEntry).bulk_create)(rows)
    get_store().wakeups.notify_everything()

    assert await asyncio.gather(*reading) == [[0]] * len(keys)
    # On SQLite the listener may have noticed the commit, too.
    assert max(map(len, looks)) == len(keys)
    assert len(looks) < 10


@pytest.mark.rule(78)
async def test_each_of_many_readers_gets_each_entry_once_in_order(
    async_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers come at other offsets and times, and are slow in other ways, on a short memory."""
    monkeypatch.setattr(stream_feeds, "KEPT", 40)
    chance = random.Random(7)
    workflow_id, total = await started(), 120

    async def read(offset: int, slowness: float) -> list[int]:
        found: list[int] = []
        async with follow(workflow_id, offset) as pages:
            while True:
                page = await next_page(pages)
                found += [frame.offset for frame in page.frames]
                if page.end:
                    return found
                if chance.random() < slowness:
                    await asyncio.sleep(chance.random() / 20)

    offsets = [chance.choice([0, 0, 5, 30, 60, 119, 200]) for _ in range(30)]
    reading = []
    written = 0
    while written < total:
        count = min(chance.randint(1, 9), total - written)
        texts = [str(number) for number in range(written, written + count)]
        await write(workflow_id, *texts, first=written, notifies=chance.random() < 0.7)
        written += count
        if offsets:
            reading += [
                asyncio.create_task(read(offsets.pop(), chance.choice([0, 0.3, 0.9])))
                for _ in range(min(len(offsets), 3))
            ]
        await asyncio.sleep(chance.random() / 100)
    await write(workflow_id, first=total, is_end=True)

    async with asyncio.timeout(LIMIT):
        found = await asyncio.gather(*reading)
    for one in found:
        assert one == list(range(one[0] if one else total, total))


@pytest.mark.rule(77)
async def test_a_change_during_a_look_is_looked_for_again(
    async_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DBOS = {**settings.DBOS, "POLL_INTERVAL": 3_600}
    workflow_id = await started()
    has_read, may_answer = threading.Event(), threading.Event()
    kept = type(get_store().reader)
    read = kept.read_pages

    def held(self: StoreReader, wanted: Any) -> Any:
        answer = read(self, wanted)
        if not has_read.is_set():
            has_read.set()
            assert may_answer.wait(LIMIT)
        return answer

    async with follow(workflow_id) as pages:
        await caught_up(pages)
        waiting = asyncio.create_task(collect(pages, 1))
        monkeypatch.setattr(kept, "read_pages", held)
        await asyncio.sleep(0)
        get_store().wakeups.notify_everything()
        await aeventually(has_read.is_set)
        # The look has read nothing, and its answer isn't there yet. The thread of the ORM is busy.
        await asyncio.to_thread(write_apart, workflow_id)
        get_store().wakeups.notify_everything()
        may_answer.set()
        frames = await waiting

    assert [frame.json_text for frame in frames] == ["1"]


def write_apart(workflow_id: str) -> None:
    """Write on a connection of this thread, and close it."""
    QuerySet(StreamEntry).bulk_create(entries(workflow_id, ["1"], 0, "s"))
    connections.close_all()


async def test_a_reader_beyond_the_end_waits_for_its_offset(async_db: None) -> None:
    workflow_id = await started()
    await write(workflow_id, "0", "1")

    async with follow(workflow_id, 3) as beyond, follow(workflow_id, 1) as within:
        found = [(await caught_up(beyond))[0], (await caught_up(within))[0]]
        await write(workflow_id, "2", first=2)
        found.append((await caught_up(within))[0])
        await write(workflow_id, "3", first=3)
        found += [(await caught_up(beyond))[0], (await caught_up(within))[0]]

    assert found == [[], [1], [2], [3], [3]]


async def test_a_slow_reader_reads_by_itself_what_the_others_have_forgotten(
    async_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_feeds, "KEPT", 10)
    workflow_id = await started()

    async with follow(workflow_id) as slow, follow(workflow_id) as fast:
        await caught_up(slow)
        await caught_up(fast)
        for number in range(30):
            await write(workflow_id, f'"{number:05}"', first=number)
            assert await collect(fast, 1)
        found = await collect(slow, 30)

    assert [frame.offset for frame in found] == list(range(30))


async def test_10_000_values_arrive_in_bounded_pages(async_db: None) -> None:
    workflow_id = await started()
    for first in range(0, 10_000, 1_000):
        await write(workflow_id, *map(str, range(first, first + 1_000)), first=first)
    await write(workflow_id, first=10_000, is_end=True)

    sizes, offsets = [], []
    async with follow(workflow_id) as pages:
        async for page in pages:
            sizes.append(len(page.frames))
            offsets += [frame.offset for frame in page.frames]

    assert offsets == list(range(10_000))
    assert max(sizes) <= 500


async def test_a_page_is_read_without_waiting(async_db: None) -> None:
    workflow_id = await started()
    await write(workflow_id, "0", "1", "2", is_end=True)

    async def read(offset: int, limit: int = 500) -> StreamPage:
        return await read_stream_page(superuser(), workflow_id, "s", offset=offset, limit=limit)

    first, rest, beyond = await read(0, 2), await read(2), await read(50)

    assert ([frame.offset for frame in first.frames], first.next_offset) == ([0, 1], 2)
    assert (first.is_up_to_date, first.end) == (False, None)
    assert ([frame.offset for frame in rest.frames], rest.end) == ([2], End.CLOSED)
    assert (list(beyond.frames), beyond.next_offset, beyond.end) == ([], 3, End.CLOSED)
    for offset in (-1, 2**31):
        with pytest.raises(ValueError, match="offset"):
            await read(offset)


async def test_an_unknown_workflow_is_refused_like_a_forbidden_one(async_db: None) -> None:
    for read in (
        lambda: read_stream_page(superuser(), "unknown", "s"),
        lambda: anext(follow_stream(superuser(), "unknown", "s")),
    ):
        with pytest.raises(Refused) as caught:
            await read()
        assert caught.value.reason is Reason.FORBIDDEN


async def test_a_deleted_workflow_ends_the_reading(async_db: None) -> None:
    workflow_id = await started()

    async with follow(workflow_id) as pages:
        await caught_up(pages)
        await QuerySet(Workflow).filter(pk=workflow_id).adelete()
        get_store().wakeups.notify_everything()
        with pytest.raises(Refused):
            await collect(pages, 1)


async def test_a_resumed_workflow_is_followed_by_a_new_reader(async_db: None) -> None:
    workflow_id = await started()
    workflows = Workflow.objects.filter(pk=workflow_id)
    await write(workflow_id, "0")

    async with follow(workflow_id) as late:
        await caught_up(late)
        await sync_to_async(workflows.cancel)()
        async with follow(workflow_id, 1) as early:
            ends = [(await caught_up(early))[1].end]
        await sync_to_async(workflows.resume)()
        async with follow(workflow_id, 1) as again:
            ends.append((await caught_up(again))[1].end)

    assert ends == [End.INACTIVE, None]


async def test_readers_wait_for_a_database_that_is_away(
    async_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "LISTEN": False, "POLL_INTERVAL": 0.05}
    workflow_id = await started()
    kept = type(get_store().reader)
    read, failed = kept.read_pages, [0]

    def fails(self: StoreReader, wanted: Any) -> Any:
        failed[0] += 1
        raise errors.Unavailable("the server has gone away")

    async with follow(workflow_id) as pages:
        await caught_up(pages)
        waiting = asyncio.create_task(collect(pages, 1))
        await asyncio.sleep(0)
        monkeypatch.setattr(kept, "read_pages", fails)
        await aeventually(lambda: failed[0] >= 3)
        monkeypatch.setattr(kept, "read_pages", read)
        await write(workflow_id, "1")
        assert [frame.json_text for frame in await waiting] == ["1"]

    warnings = [one for one in caplog.records if one.name == "django_dbos.live"]
    assert len(warnings) == 1


async def test_readers_that_read_wait_for_a_database_that_is_away(
    async_db: None, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    workflow_id = await started()
    await write(workflow_id, *map(str, range(600)), is_end=True)
    kept = type(get_store().reader)
    read, failures = kept.read_pages, [errors.Unavailable("cut"), errors.Unavailable("cut")]

    def fails_twice(self: StoreReader, wanted: Any) -> Any:
        if failures:
            raise failures.pop()
        return read(self, wanted)

    monkeypatch.setattr(following, "OUTAGE_PAUSE", 0.01)
    async with follow(workflow_id) as pages:
        first = await anext(pages)
        monkeypatch.setattr(kept, "read_pages", fails_twice)
        rest = [page async for page in pages]

    offsets = [frame.offset for page in (first, *rest) for frame in page.frames]
    assert offsets == list(range(600))
    assert rest[-1].end is End.CLOSED
    assert not failures
    warnings = [one for one in caplog.records if one.name == "django_dbos.live"]
    assert len(warnings) == 1


async def test_nothing_is_left_when_the_last_reader_has_gone(async_db: None) -> None:
    workflow_id = await started()
    before = asyncio.all_tasks()

    async with follow(workflow_id) as pages, follow(workflow_id) as others:
        await next_page(pages)
        await next_page(others)
        assert len(_hubs) == 1

    await aeventually(lambda: asyncio.all_tasks() == before)
    assert not _hubs
    assert not get_store().wakeups.is_used


def test_pages_of_many_streams_are_those_of_each(transactional_db: None) -> None:
    """Also where they are too large together, and for workflows that don't exist."""
    store = get_store()
    texts = {"empty": [], "small": ["1"] * 7, "large": [f'"{"x" * 400_000}"'] * 4, "last": ["2"]}
    ids = {key: waits.start().workflow_id for key in texts}
    for key, values in texts.items():
        QuerySet(StreamEntry).bulk_create(entries(ids[key], values, 0, "s"))
    closed = entries(ids["small"], [""], 7, "s")
    closed[0].value_text, closed[0].is_end = None, True
    QuerySet(StreamEntry).bulk_create(closed)
    wanted = [
        PageWanted(ids[key], "s", offset, 5, None)
        for key in texts
        for offset in (0, 1, 3, 5, 7, 8, 100)
    ]
    wanted.append(PageWanted("unknown", "s", 0, 5, None))

    answers: dict[int, Any] = {}
    left = list(range(len(wanted)))
    while left:
        found = store.reader.read_pages([wanted[number] for number in left])
        assert found[0] is not None
        answers |= {n: page for n, page in zip(left, found, strict=True) if page is not None}
        left = [number for number in left if number not in answers]

    for number, one in enumerate(wanted[:-1]):
        single = store.reader.read_entries(one.workflow_id, one.key, one.offset, one.limit)
        page = answers[number]
        count = len(page.entries)
        assert page.entries == single.entries[:count]
        assert page.next_offset <= single.next_offset
        if page.is_last or count == len(single.entries):
            assert page == single, one
    assert isinstance(answers[len(wanted) - 1], WorkflowDoesNotExist)


def test_versions_of_many_workflows_are_those_of_each(transactional_db: None) -> None:
    store = get_store()
    ids = [sets_events.start({f"k{n}": n for n in range(count)}).workflow_id for count in (0, 1, 3)]
    run_until_idle()
    wanted = [VersionsWanted(one, key, None) for one in ids for key in (None, "k1", "none")]
    wanted.append(VersionsWanted("unknown", None, None))
    wanted.append(VersionsWanted(ids[0], None, uuid.uuid4()))

    found = store.reader.read_many_versions(wanted)

    for one, answer in zip(wanted[:-2], found, strict=False):
        status, versions = store.reader.read_versions(one.workflow_id, one.key, token=None)
        assert answer == EventVersions(versions, status)
    assert [type(answer) for answer in found[-2:]] == [WorkflowDoesNotExist] * 2
    assert [len(answer.versions) for answer in found[:9:3]] == [0, 1, 3]  # type: ignore[union-attr]


async def test_a_storm_of_reconnecting_readers_is_answered_by_few_calls(
    async_db: None, looks: list[list[tuple[str, int]]]
) -> None:
    workflow_id = await started()
    keys = [f"stream-{number}" for number in range(10)]
    for key in keys:
        await write(workflow_id, *map(str, range(20)), key=key, is_end=True)
    looks.clear()

    async def read(key: str, offset: int) -> list[int]:
        async with follow(workflow_id, offset, key) as pages:
            return [frame.offset async for page in pages for frame in page.frames]

    readers = [(key, offset) for key in keys for offset in range(20)]
    async with asyncio.timeout(LIMIT):
        found = await asyncio.gather(*(read(*one) for one in readers))

    assert found == [list(range(offset, 20)) for _, offset in readers]
    assert len(looks) < len(readers) / 4


@pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL's LISTEN")
async def test_readers_go_on_when_the_listener_has_lost_its_connection(
    async_db: None, settings: Any
) -> None:
    settings.DBOS = {**settings.DBOS, "POLL_INTERVAL": 3_600}
    workflow_id = await started()

    def end_listener() -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE 'LISTEN%%' AND datname = current_database()"
            )

    async with follow(workflow_id) as pages:
        await caught_up(pages)
        await aeventually(lambda: get_store().wakeups.is_listening)
        reading = asyncio.create_task(collect(pages, 1))
        await sync_to_async(end_listener)()
        await write(workflow_id, "1", notifies=False)
        async with asyncio.timeout(LIMIT):
            assert [frame.json_text for frame in await reading] == ["1"]


@pytest.mark.rule(77)
async def test_a_reader_that_comes_with_an_answer_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It found the answer done, but not taken, and looked at that again for ever."""
    asked: list[asyncio.Future[Any]] = []

    def ask(answer_all: Any, question: Any) -> asyncio.Future[Any]:
        asked.append(asyncio.get_running_loop().create_future())
        return asked[-1]

    monkeypatch.setattr(feed_module, "ask", ask)
    feed = stream_feeds.StreamFeed(Hub(asyncio.get_running_loop()), "workflow", None, "s")
    feed.welcome()
    first = asyncio.create_task(feed.page(0))
    await asyncio.sleep(0)
    asked[0].set_result(Entries([], 0, True, None))
    assert (await first).is_up_to_date
    feed.welcome()
    first = asyncio.create_task(feed.page(0))
    await asyncio.sleep(0)

    asked[1].set_result(Entries([Frame(0, "1")], 1, True, None))
    feed.welcome()
    page = await feed.page(0)

    assert [frame.offset for frame in page.frames] == [0]
    assert (await first).next_offset == 1

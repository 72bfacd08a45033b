from __future__ import annotations

import threading

import pytest
import trio

from gossipd.daemon.gossiper import look_up
from gossipd.daemon.threads import in_thread
from tests.support.virtual import in_real_time

PATIENCE_S = 5.0


@in_real_time
async def test_a_disk_does_not_wait_for_a_name_service_whose_answers_hang_in_all_other_threads():
    threads = trio.to_thread.current_default_thread_limiter()
    for _ in range(int(threads.total_tokens)):
        threads.acquire_on_behalf_of_nowait(object())
    with trio.fail_after(PATIENCE_S):
        assert await in_thread(sum, [3, 4]) == 7


@pytest.fixture
def no_more_threads(monkeypatch):
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(trio._core._thread_cache.THREAD_CACHE, "_idle_workers", {})


@in_real_time
async def test_where_no_thread_can_be_started_work_fails_as_on_a_disk(no_more_threads):
    with pytest.raises(OSError) as caught:
        await in_thread(sum, [3, 4])
    assert caught.value.strerror == "cannot start a thread: Resource temporarily unavailable"


@in_real_time
async def test_what_the_work_itself_raises_comes_through():
    def work() -> None:
        raise RuntimeError("its own")

    with pytest.raises(RuntimeError, match="its own"):
        await in_thread(work)


@in_real_time
async def test_a_name_that_no_thread_can_look_up_is_an_answer(no_more_threads):
    assert await look_up("name.invalid", 1) == "Failed to resolve name.invalid: lookup name.invalid: " \
                                               "can't start new thread"

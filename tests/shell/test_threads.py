from __future__ import annotations

import trio

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

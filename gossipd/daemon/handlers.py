"""Event handlers: scripts that run when something happens. None of them can hold up anything but itself."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

import trio

from gossipd.commands import Respond
from gossipd.daemon.announce import printable
from gossipd.daemon.children import SLOW_S, Child, Outcome, own_environment
from gossipd.daemon.engine import Engine
from gossipd.daemon.logs import as_serf
from gossipd.errors import CommandError
from gossipd.events import Event, MemberEvent, QueryEvent
from gossipd.filters import kind_and_name
from gossipd.hooks import Hook, describe, standard_input, variables

EVENTS_MAX = 2048               # that wait for one script; further ones are dropped, counted and warned of
DROPPED_LOG_INTERVAL_S = 1.0
CHILDREN_MAX = 64               # at once, of all scripts together
STOP_GRACE_S = 2.0              # for the scripts that still run, and what waits for them, when the daemon ends
LOGGED_BYTES_MAX = 1000         # of a failed script's output, its last

log = logging.getLogger("gossipd.handlers")


class Handlers:
    """All handlers. What one script handles runs in order and never at the same time, even if several filters lead to
    it; different scripts run side by side."""

    def __init__(self, engine: Engine, hooks: Sequence[Hook]) -> None:
        """From now on events are queued; `run_handlers` runs them."""
        self._hooks: tuple[Hook, ...] = ()
        self._engine = engine
        self._room = trio.Semaphore(CHILDREN_MAX)
        self._environment = own_environment()
        self._lanes: dict[str, Lane] = {}       # by script; one that is not wanted any more stays, for its order
        self._nursery: trio.Nursery | None = None
        self._unanswered: dict[int, int] = {}   # queries by id: how many runs of scripts may still answer
        self._stop = trio.Event()
        self.replace(hooks)
        engine.listen(self.hear)
        engine.answer_with(self.may_answer)

    def replace(self, hooks: Sequence[Hook]) -> None:
        """From the next event on, these. What waits for a script that was there before still runs."""
        self._hooks = tuple(hooks)
        self._engine.event_handlers = describe(self._hooks)
        for script in dict.fromkeys(hook.script for hook in hooks):
            if script not in self._lanes:
                lane = self._lanes[script] = Lane(self._engine, script, self._environment, self._room, self._over)
                if self._nursery is not None:
                    self._nursery.start_soon(lane.run)

    def hear(self, event: Event) -> None:
        if self._stop.is_set():
            return
        wanting = [hook for hook in self._hooks if hook.wants(event)]
        if wanting and isinstance(event, QueryEvent):
            self._unanswered[event.id] = len(wanting)
        for hook in wanting:
            self._lanes[hook.script].add(hook, event)

    def may_answer(self, query: QueryEvent) -> bool:
        return not self._stop.is_set() and any(hook.wants(query) for hook in self._hooks)

    def _over(self, event: Event, answered: bool) -> None:
        """A run for this event, answered or not. After a query's last one nobody needs to wait for an answer."""
        if not isinstance(event, QueryEvent) or event.id not in self._unanswered:
            return
        self._unanswered[event.id] -= 1
        if answered or not self._unanswered[event.id]:
            del self._unanswered[event.id]
            if not answered:
                self._engine.decline(event, self.may_answer)

    def stop(self) -> None:
        """No more events; what waits still runs."""
        self._stop.set()
        for lane in self._lanes.values():
            lane.close()

    async def run(self, nursery: trio.Nursery) -> None:
        """Have each script's events handled by a task in `nursery`, until `stop`."""
        self._nursery = nursery
        for lane in self._lanes.values():
            nursery.start_soon(lane.run)
        await self._stop.wait()


class Lane:
    """One script and the events that wait for it."""

    def __init__(
        self, engine: Engine, script: str, environment: dict[bytes, bytes], room: trio.Semaphore,
        over: Callable[[Event, bool], None],
    ) -> None:
        """`over` is told of every event that was handled or dropped, and whether it was a query and answered."""
        self._engine, self._script, self._environment = engine, script, environment
        self._room, self._over = room, over
        self._waiting: deque[tuple[Hook, Event]] = deque()
        self._news = trio.Event()
        self._closed = False
        self._dropped = 0
        self._warned = float("-inf")

    def add(self, hook: Hook, event: Event) -> None:
        if len(self._waiting) >= EVENTS_MAX:
            self._drop()
            self._over(event, False)
        else:
            self._waiting.append((hook, event))
            self._news.set()

    def close(self) -> None:
        self._closed = True
        self._news.set()

    def _drop(self) -> None:
        self._engine.count("handler events dropped")
        self._dropped += 1
        now = self._engine.clock()
        if now >= self._warned + DROPPED_LOG_INTERVAL_S:
            log.warning("handler too slow, events dropped script=%r dropped=%d waiting=%d",
                        self._script, self._dropped, EVENTS_MAX)
            self._dropped, self._warned = 0, now

    async def run(self) -> None:
        """Until it is closed and nothing waits any more."""
        while self._waiting or not self._closed:
            await self._news.wait()
            while self._waiting:
                await self._room.acquire()
                hook, event = self._waiting.popleft()
                try:
                    answered = await self._handle(hook, event)
                finally:
                    self._room.release()
                self._over(event, answered)
            if not self._closed:
                self._news = trio.Event()

    async def _handle(self, hook: Hook, event: Event) -> bool:
        """True if it was a query and got an answer."""
        self._engine.count("handler runs")
        own = self._engine.node.member(self._engine.name)
        environment = self._environment | variables(event, self._engine.name, own.tags if own else {})
        try:
            child = Child(hook.script, environment, standard_input(event))
        except (OSError, ValueError) as error:      # no memory, no descriptors, too large, a NUL in a name
            self._engine.count("handler failures")
            log.warning("handler not started %s error=%r", about(hook, event), str(error))
            return False
        outcome = await child.finish(hook.timeout_s, partial(self._slow, hook, event))
        return self._conclude(hook, event, outcome)

    def _slow(self, hook: Hook, event: Event) -> None:
        log.warning("handler slow %s", about(hook, event), extra=as_serf(
            logging.WARNING, "agent", f"Script '{hook.script}' slow, execution exceeding {SLOW_S:.0f}s"))

    def _conclude(self, hook: Hook, event: Event, outcome: Outcome) -> bool:
        if outcome.status != 0 or outcome.timed_out:
            self._engine.count("handler timeouts" if outcome.timed_out else "handler failures")
            log.warning("handler %s %s %s after_s=%.3f output=%r",
                        "ended, it took too long" if outcome.timed_out else "failed", about(hook, event),
                        outcome.describe(), outcome.duration_s, last_words(outcome.output), extra=as_serf(
                            logging.ERROR, "agent", f"Error invoking script '{hook.script}': {outcome.go_words()}"))
            return False
        if log.isEnabledFor(logging.DEBUG):
            log.debug("handler done %s after_s=%.3f output=%r",
                      about(hook, event), outcome.duration_s, last_words(outcome.output), extra=as_serf(
                          logging.DEBUG, "agent", f"Event '{kind_and_name(event)[0]}' script output: "
                                                  f"{last_words(outcome.output)}"))
        if isinstance(event, QueryEvent) and outcome.output:
            return self._respond(hook, event, outcome.output)
        return False

    def _respond(self, hook: Hook, event: QueryEvent, answer: bytes) -> bool:
        def done(result: object, error: str) -> None:
            if error:
                log.warning("handler's answer not sent %s error=%r", about(hook, event), error, extra=as_serf(
                    logging.WARNING, "agent", f"Failed to respond to query 'query: {event.name}': "
                                              f"failed to respond to key query: {error}"))

        try:
            self._engine.submit(lambda id: Respond(id, event.id, answer), done)
        except CommandError as error:
            done(None, str(error))
            return False
        return True


def about(hook: Hook, event: Event) -> str:
    """What a log line says of a run: `script='x.sh' event=user:deploy ltime=7`."""
    kind, name = kind_and_name(event)
    if isinstance(event, MemberEvent):
        return f"script={hook.script!r} event={kind} members={len(event.members)}"
    return f"script={hook.script!r} event={kind}:{printable(name)} ltime={event.ltime}"


def last_words(output: bytes) -> str:
    return output[-LOGGED_BYTES_MAX:].decode("utf-8", "backslashreplace").rstrip()


class Runner:
    """The handle by which `app` ends this subsystem."""

    def __init__(self, handlers: Handlers, scope: trio.CancelScope, idle: trio.Event) -> None:
        self._handlers, self._scope, self._idle = handlers, scope, idle

    async def close(self) -> None:
        """What runs and waits gets STOP_GRACE_S, then TERM, then KILL: nothing remains."""
        self._handlers.stop()
        with trio.move_on_after(STOP_GRACE_S):
            await self._idle.wait()
        self._scope.cancel()
        await self._idle.wait()


async def run_handlers(
    handlers: Handlers,
    *,
    task_status: trio.TaskStatus[Runner] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run what is queued, a task for each script, until closed."""
    idle = trio.Event()
    try:
        async with trio.open_nursery() as nursery:
            task_status.started(Runner(handlers, nursery.cancel_scope, idle))
            await handlers.run(nursery)
    finally:
        idle.set()

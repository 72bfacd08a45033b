"""Handlers with real children, in real time: the scripts are short and the limits made small."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from gossipd.commands import Command, Decline, Respond
from gossipd.daemon import children, handlers
from gossipd.daemon.children import EOF_GRACE_S, OUTPUT_BYTES_MAX, Child, Outcome
from gossipd.daemon.engine import Engine
from gossipd.daemon.handlers import EVENTS_MAX, Handlers, Runner, run_handlers
from gossipd.daemon.life import Life
from gossipd.effects import Emit, Reply
from gossipd.errors import CommandError
from gossipd.events import MEMBER_JOIN, Event, MemberEvent, QueryEvent, UserEvent
from gossipd.hooks import Hook, parse_spec
from tests.support.fakenode import FakeNode
from tests.support.memory import MemoryNetwork
from tests.support.require import ROOT
from tests.support.virtual import in_real_time, until

ENVIRONMENT = dict(os.environb)
QUICK_S = 0.2       # what must not wait for a hung script takes less; hung scripts take 30 s


@pytest.fixture
def short_graces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "TERM_GRACE_S", 0.1)
    monkeypatch.setattr(children, "EOF_GRACE_S", 0.1)
    monkeypatch.setattr(handlers, "STOP_GRACE_S", 0.1)


def user(name: str, ltime: int = 1, payload: bytes = b"") -> UserEvent:
    return UserEvent(name, payload, ltime, False)


def query(id: int, name: str = "load") -> QueryEvent:
    return QueryEvent(id, name, None, 1, "bea", 1e9)


def an_engine(on_command: Callable[[Command], list[Any]] = lambda command: [Reply(command.id)]) -> Any:
    node = FakeNode()
    node.on_command = on_command
    port = MemoryNetwork(refuses=False).port(("127.0.0.1", 7946))
    return Engine(node, port, Life(), trio.current_time, time.time)    # type: ignore[arg-type]


def recording(asked: list[Command]) -> Callable[[Command], list[Any]]:
    def record(command: Command) -> list[Any]:
        asked.append(command)
        return [Reply(command.id)]

    return record


def emit(engine: Any, *events: Event) -> None:
    engine.node.on_datagram = lambda data: [Emit(event) for event in events]
    engine.receive(b"x", ("127.0.0.2", 7946))


@asynccontextmanager
async def running(engine: Any, *specs: str | Hook) -> AsyncIterator[Runner]:
    hooks = [hook for spec in specs for hook in ([spec] if isinstance(spec, Hook) else parse_spec(spec))]
    async with trio.open_nursery() as nursery:
        runner = await nursery.start(run_handlers, Handlers(engine, hooks))
        yield runner
        await runner.close()


async def lines(path: Path, count: int) -> list[str]:
    """The file's lines once there are that many."""
    await until(lambda: path.exists() and path.read_text().count("\n") >= count)
    return path.read_text().splitlines()


async def run(script: str, stdin: bytes = b"", timeout_s: float = 10.0) -> Outcome:
    return await Child(script, ENVIRONMENT, stdin).finish(timeout_s, lambda: None)


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- one child


@in_real_time
async def test_output_is_both_streams_in_their_order_and_the_exit_status_is_the_scripts():
    outcome = await run("echo out; echo err >&2; cat; exit 3", b"in\n")
    assert (outcome.status, outcome.output, outcome.timed_out) == (3, b"out\nerr\nin\n", False)
    assert outcome.describe() == "status=3"


@in_real_time
async def test_a_script_is_a_process_group_of_its_own_with_the_usual_signals():
    outcome = await run("cut -d' ' -f1,5 /proc/$$/stat; kill -PIPE $$; echo survived")
    pid, group = outcome.output.split()
    assert pid == group and outcome.describe() == "signal=SIGPIPE"


@pytest.mark.parametrize(("content", "mode", "status", "output"), [
    ("#!/bin/sh\necho $0; exit 4\n", 0o755, 4, "{path}\n"),
    ("echo $0; exit 5\n", 0o755, 5, "{path}\n"),
    ("#!/bin/sh\n", 0o644, 126, "/bin/sh: 1: {path}: Permission denied\n"),
    ("#!/no/such/program\n", 0o755, 127, "/bin/sh: 1: {path}: not found\n"),
    (None, 0, 127, "/bin/sh: 1: {path}: not found\n"),
])
@in_real_time
async def test_a_path_without_a_shell_behaves_as_with_one(tmp_path, content, mode, status, output):
    path = tmp_path / "script.sh"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    plain, by_shell = await run(str(path)), await run(f" {path}")
    assert (plain.status, plain.output) == (by_shell.status, by_shell.output)
    assert plain.status == status
    if os.path.realpath("/bin/sh").endswith("dash"):
        assert plain.output.decode() == output.format(path=path)


@in_real_time
async def test_a_path_runs_without_the_cost_of_a_shell(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(f"#!{sys.executable} -S\nprint(open('/proc/self/stat').read().split()[3])\n")
    path.chmod(0o755)
    assert int((await run(str(path))).output) == os.getpid()


@in_real_time
async def test_a_script_gets_exactly_this_environment_and_no_files_of_ours():
    with open("/dev/null") as ours:
        outcome = await run(f"ls -l /proc/self/fd/{ours.fileno()}; true")
        assert b"/dev/null" not in outcome.output
    environment = await Child("exec env", {b"X": b"\xff\t\n"}, b"").finish(10.0, lambda: None)
    assert environment.output.replace(b"PWD=" + os.getcwdb() + b"\n", b"") == b"X=\xff\t\n\n"


@pytest.mark.parametrize("script", ["exit 0", "exec <&-; sleep 0.05", "head -c 10"])
@in_real_time
async def test_input_that_nobody_reads_does_no_harm(script):
    assert (await run(script, b"x" * 1_000_000)).status == 0


@in_real_time
async def test_a_large_input_arrives_whole_while_output_flows():
    outcome = await run("tee /dev/stderr | wc -c", b"y" * 3_000_000)
    assert outcome.output.endswith(b"y3000000\n")


@in_real_time
async def test_the_end_of_the_output_is_kept():
    outcome = await run("seq 1 100000")
    assert len(outcome.output) == OUTPUT_BYTES_MAX and outcome.output.endswith(b"\n99999\n100000\n")
    exact = await run(f"head -c {OUTPUT_BYTES_MAX} /dev/zero")
    assert exact.output == bytes(OUTPUT_BYTES_MAX)


@in_real_time
async def test_a_background_process_that_holds_the_output_open_is_not_waited_for(short_graces):
    outcome = await run("sleep 30 & echo $!")
    os.kill(int(outcome.output), signal.SIGKILL)        # it lives: nobody asked for its end
    assert outcome.status == 0 and 0.1 <= outcome.duration_s < 1.0 and EOF_GRACE_S < 1.0


@in_real_time
async def test_a_script_that_closes_its_output_early_is_waited_for():
    outcome = await run("exec >&- 2>&-; sleep 0.1; exit 4")
    assert outcome.status == 4 and outcome.duration_s >= 0.1


@in_real_time
async def test_a_timeout_ends_the_whole_group_gently_then_by_force(short_graces, tmp_path):
    script = f"trap 'echo term >{tmp_path}/term' TERM; (trap '' TERM; sleep 30; true) & echo $!; wait; wait"
    outcome = await run(script, timeout_s=0.2)
    assert outcome.timed_out and outcome.duration_s < 2.0
    assert (tmp_path / "term").read_text() == "term\n"
    await until(lambda: not alive(int(outcome.output)))


@in_real_time
async def test_a_script_that_ends_by_term_needs_no_force():
    outcome = await run("trap 'echo bye; exit 5' TERM; sleep 30 & wait", timeout_s=0.1)
    assert (outcome.timed_out, outcome.status, outcome.output) == (True, 5, b"bye\n")
    assert outcome.duration_s < children.TERM_GRACE_S


@in_real_time
async def test_without_pidfds_a_child_ends_too(monkeypatch):
    def old_kernel(pid: int) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", old_kernel)
    assert (await run("sleep 0.05; echo x; exit 2")).status == 2
    assert (await run("exec sleep 30", timeout_s=0.05)).describe() == "signal=SIGTERM"


@in_real_time
@pytest.mark.parametrize("timeout_s", [10.0, 0.05])
async def test_where_others_reap_our_children_they_still_end(timeout_s, short_graces):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)      # then the kernel does
    try:
        outcome = await run(f"echo out; sleep {0 if timeout_s > 1.0 else 30}", b"", timeout_s)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert (outcome.status, outcome.output, outcome.timed_out) == (-signal.SIGKILL, b"out\n", timeout_s < 1.0)


@in_real_time
async def test_nothing_stays_open_after_children_that_ended_or_could_not_start():
    before = sorted(os.listdir("/proc/self/fd"))
    await run("true", b"x" * 100_000)
    await run("exec sleep 30", b"x" * 100_000, timeout_s=0.05)
    for environment in ({b"A": b"\0"}, {b"A": b"x" * 10_000_000}):
        with pytest.raises((ValueError, OSError)):
            Child("true", environment, b"x" * 100_000)
    assert sorted(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_locale_that_python_made_up_is_not_passed_on():
    script = "import gossipd.daemon.children as c, os; print(sorted(c.own_environment().items()), len(os.environ))"
    given = {"B": "\udcff", "PWD": str(ROOT)}
    for added in ({}, {"LC_CTYPE": "C.UTF-8"}):
        said = subprocess.run(
            [sys.executable, "-c", script], env=given | added, cwd=ROOT, capture_output=True).stdout.decode()
        environment, _, count = said.strip().rpartition(" ")
        assert environment == str(sorted((os.fsencode(k), os.fsencode(v)) for k, v in (given | added).items()))
        assert count == "3"     # Python did add it


def test_pwd_is_right_whatever_we_were_told(monkeypatch, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    for told, passed_on in ((None, tmp_path), ("/", tmp_path), (f"{tmp_path}/link", tmp_path / "link")):
        monkeypatch.setenv("PWD", told or "")
        assert children.own_environment()[b"PWD"] == os.fsencode(passed_on)


@in_real_time
async def test_a_flood_of_output_takes_little_of_our_time():
    began = time.process_time()
    outcome = await run("exec yes", timeout_s=0.5)
    assert outcome.output == b"y\n" * (OUTPUT_BYTES_MAX // 2)
    assert time.process_time() - began < 0.15


# --- handlers of events


@in_real_time
async def test_a_script_hears_of_what_its_filter_names(tmp_path):
    engine, out = an_engine(), tmp_path / "out"
    async with running(engine, f"user:deploy,member-join=(echo $SERF_EVENT $SERF_USER_EVENT; cat) >>{out}"):
        emit(engine, user("other"), user("deploy", payload=b"v2"), MemberEvent(MEMBER_JOIN, engine.members()))
        assert await lines(out, 4) == ["user deploy", "v2", "member-join", "ann\t127.0.0.1\tweb\trole=web"]
    assert engine.counters == {"handler runs": 2}
    assert engine.event_handlers.keys() == {"user:deploy", "member-join:"}


@in_real_time
async def test_the_environment_has_this_nodes_name_and_tags_and_all_that_the_daemon_has(monkeypatch, tmp_path):
    monkeypatch.setenv("FROM_OUTSIDE", "yes")
    engine, out = an_engine(), tmp_path / "out"
    async with running(engine, f"echo $SERF_SELF_NAME $SERF_TAG_ROLE $SERF_SELF_ROLE $FROM_OUTSIDE >{out}"):
        emit(engine, user("x"))
        assert await lines(out, 1) == ["ann web web yes"]


@in_real_time
async def test_events_of_one_script_run_in_order_and_one_at_a_time_whatever_filter_let_them_in(tmp_path):
    engine, out = an_engine(), tmp_path / "out"
    script = f'n=$SERF_USER_LTIME; echo begin $n >>{out}; [ $n = 1 ] && sleep 0.1; echo end $n >>{out}'
    async with running(engine, f"user:a={script}", f"user:b={script}", Hook((("user", "c"),), script, 5.0)):
        emit(engine, user("a", 1), user("b", 2), user("c", 3), user("a", 4))
        assert await lines(out, 8) == [f"{what} {n}" for n in (1, 2, 3, 4) for what in ("begin", "end")]


@in_real_time
async def test_a_hung_handler_delays_neither_another_nor_an_answer_nor_the_daemon(short_graces, tmp_path):
    answers: list[tuple[Respond, float]] = []

    def answered(command: Command) -> list[Any]:
        assert isinstance(command, Respond)
        answers.append((command, trio.current_time()))
        return [Reply(command.id)]

    engine, out, worst = an_engine(answered), tmp_path / "out", 0.0
    async with running(engine, f"user=cat >>{out}", "*=sleep 30", "query:load=echo 0.5", "*=exec sleep 31"):
        for number in range(5):
            began = trio.current_time()
            emit(engine, user("deploy", number, b"v"), query(number), user("other"))
            worst = max(worst, trio.current_time() - began)
            await lines(out, number + 1)
            await until(lambda: len(answers) == number + 1)     # noqa: B023
            assert trio.current_time() - began < QUICK_S
        assert [(answer.query, answer.payload) for answer, _ in answers] == [(n, b"0.5\n") for n in range(5)]
    assert worst < 0.02


@pytest.mark.parametrize("script", ["echo x; exit 1", "true", "kill -9 $$", "exec sleep 30"])
@in_real_time
async def test_only_a_script_that_succeeds_and_says_something_answers_a_query(script, short_graces):
    asked: list[Command] = []
    engine = an_engine(recording(asked))
    async with running(engine, Hook((("query", ""),), script, 0.1)):
        emit(engine, query(1))
        await until(lambda: asked)
    assert engine.counters["handler runs"] == 1
    assert asked == [Decline(1, 1)]


@in_real_time
async def test_it_is_declined_when_the_last_script_is_over_and_nobody_else_may_answer():
    asked: list[Command] = []
    engine = an_engine(recording(asked))
    async with running(engine, "query:a,query:b=true", "query:b=echo x", "query=true; true"):
        assert engine.may_answer(query(1, "c")) and not engine.may_answer(user("c"))
        emit(engine, query(1, "a"), query(2, "b"))
        await until(lambda: len(asked) == 2)
    assert sorted((type(one).__name__, one.query) for one in asked) == [("Decline", 1), ("Respond", 2)]
    asked.clear()
    engine.answer_with(lambda query: query.name == "a")
    async with running(engine, "query=true"):
        emit(engine, query(3, "a"), query(4, "b"))
        await until(lambda: asked)
    assert asked == [Decline(3, 4)]


@in_real_time
async def test_an_answer_that_the_core_refuses_is_logged_and_forgotten(caplog):
    def refuse(command: Command) -> list[Any]:
        if isinstance(command, Respond) and command.query == 1:
            raise CommandError("response is past the deadline")
        return [Reply(command.id, error="too large")]

    engine = an_engine(refuse)
    async with running(engine, "query=echo x"):
        emit(engine, query(1), query(2))
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"handler's answer not sent script='echo x' event=query:load ltime=1 error={error!r}"
        for error in ("response is past the deadline", "too large")]
    assert caplog.records[1].serf[2] == (
        "Failed to respond to query 'query: load': failed to respond to key query: too large")


@in_real_time
async def test_a_failure_is_logged_with_status_duration_and_last_words(caplog, monkeypatch, short_graces):
    monkeypatch.setattr(children, "SLOW_S", 0.05)
    engine = an_engine()
    async with running(engine, "user:bad=echo oops >&2; exit 3", Hook((("user", "hung"),), "exec sleep 30", 0.1),
                       "user:nul\0=true"):
        emit(engine, user("bad", 7), user("hung", 8))
        await until(lambda: len(caplog.records) == 3)
    said = sorted(record.getMessage() for record in caplog.records)
    assert said[0].startswith("handler ended, it took too long script='exec sleep 30' event=user:hung ltime=8 "
                              "signal=SIGTERM after_s=0.1")
    assert said[1].startswith(
        "handler failed script='echo oops >&2; exit 3' event=user:bad ltime=7 status=3 after_s=0.")
    assert said[1].endswith(" output='oops'")
    assert said[2] == "handler slow script='exec sleep 30' event=user:hung ltime=8"
    assert engine.counters == {"handler runs": 2, "handler failures": 1, "handler timeouts": 1}


@in_real_time
async def test_an_event_whose_name_fits_no_environment_is_skipped_and_the_next_one_runs(caplog, tmp_path):
    engine, out = an_engine(), tmp_path / "out"
    async with running(engine, f"echo $SERF_USER_EVENT >>{out}"):
        emit(engine, user(200_000 * "a"), user("b\0c"))
        assert await lines(out, 1) == ["bc"]
    said, = (record.getMessage() for record in caplog.records)
    assert said.startswith("handler not started script='echo $SERF_USER_EVENT") and "Argument list too long" in said


@in_real_time
async def test_a_storm_of_events_is_bounded_the_newest_are_dropped_with_a_warning_a_second(caplog, tmp_path,
                                                                                          short_graces):
    engine, out, storm = an_engine(), tmp_path / "out", EVENTS_MAX + 5000
    async with running(engine, f"user:first=exec sleep 30; {out}", f"user:other=echo x >>{out}"):
        emit(engine, *(user("first", number) for number in range(storm)))
        emit(engine, user("other"))
        assert await lines(out, 1) == ["x"]
        assert engine.counters["handler events dropped"] in (4999, 5000)     # one may have been taken at once
        assert engine.counters["handler runs"] == 2
        await until(lambda: sum(parent_of(pid) == os.getpid() for pid in processes()) == 1)
    warnings = [record.getMessage() for record in caplog.records if "dropped" in record.getMessage()]
    assert len(warnings) == 1 and f"waiting={EVENTS_MAX}" in warnings[0]


def processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def parent_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


@in_real_time
async def test_only_so_many_children_run_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(handlers, "CHILDREN_MAX", 2)
    engine, out = an_engine(), tmp_path / "out"
    async with running(engine, *(f"echo begin >>{out}; sleep 0.05; echo end {n} >>{out}" for n in range(4))):
        emit(engine, user("x"))
        seen = [line.split()[0] for line in await lines(out, 8)]
    most = max(seen[:n].count("begin") - seen[:n].count("end") for n in range(9))
    assert most == 2


@in_real_time
async def test_at_the_end_what_waits_is_still_run_and_nothing_new_is(tmp_path):
    engine, out = an_engine(), tmp_path / "out"
    async with running(engine, f"sleep 0.02; echo $SERF_USER_LTIME >>{out}") as runner:
        emit(engine, *(user("x", n) for n in range(3)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.close)
            await trio.testing.wait_all_tasks_blocked()
            emit(engine, user("x", 99))
    assert out.read_text().split() == ["0", "1", "2"]


@in_real_time
async def test_at_the_end_nothing_of_a_hung_script_remains(short_graces, tmp_path):
    engine, out = an_engine(), tmp_path / "out"
    began = trio.current_time()
    async with running(engine, f"trap '' TERM; (trap '' TERM; sleep 30) & echo $$ $! >>{out}; sleep 30"):
        emit(engine, user("x"))
        pids = [int(pid) for line in await lines(out, 1) for pid in line.split()]
    assert trio.current_time() - began < 2.0
    await until(lambda: not any(alive(pid) for pid in pids))


@in_real_time
async def test_without_work_the_end_is_at_once():
    engine = an_engine()
    async with running(engine, "a", "b") as runner:
        began = trio.current_time()
        await runner.close()
        assert trio.current_time() - began < 0.05

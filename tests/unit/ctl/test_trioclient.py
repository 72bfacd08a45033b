"""The Python client for trio: the same calls and results, for any number of tasks at once."""

from __future__ import annotations

import inspect
import socket
import threading
from contextlib import contextmanager, suppress

import pytest
import trio
import trio.testing

import gossipd.client
from gossipd.clientrecords import Query as BlockingQuery
from gossipd.commands import ChangeKeys, KeyOutcome, QueryAnswer, QueryOutcome, Respond, SendEvent, StartQuery
from gossipd.events import MemberEvent, QueryEvent, UserEvent
from gossipd.rpc.backend import NoLog
from gossipd.rpc.plain import NOTHING, Reader, pack
from gossipd.serf.coordinates import Coordinate
from gossipd.trioclient import Client, ClientError, ConnectionLost, JoinFailed, Query, Stream, TimedOut, Unreachable
from tests.unit.ctl.daemon import a_daemon
from tests.unit.rpc.fakes import FakeBackend, a_member

OK = {"Error": "", "Seq": 1}


def run(test):      # type: ignore[no-untyped-def]
    """`test` under trio, for a while: these are real sockets."""
    async def in_time(*args):   # type: ignore[no-untyped-def]
        with trio.fail_after(20):
            return await test(*args)
    return lambda *args: trio.run(in_time, *args, strict_exception_groups=True)


@contextmanager
def a_stranger(path, *answers):
    """Takes one connection, and answers its first request with the first of `answers`, and so on."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            reader = Reader()
            with connection, suppress(ConnectionError):     # the client has gone
                while data := connection.recv(65536):
                    reader.feed(data)
                    while (value := reader.next()) is not NOTHING:
                        if "Seq" in value and value["Seq"] <= len(answers):
                            connection.sendall(answers[value["Seq"] - 1])

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield str(path)
        thread.join(5)


def signature(function):
    return [(one.name, one.kind, one.default) for one in inspect.signature(function).parameters.values()]


def test_it_has_the_same_calls_with_the_same_arguments():
    blocking = {name: value for name, value in vars(gossipd.client.Client).items()
                if not name.startswith("_") and callable(value) and name != "greet"}
    assert set(blocking) == {name for name, value in vars(Client).items() if not name.startswith("_")}
    for name, function in blocking.items():
        assert signature(getattr(Client, name)) == signature(function), name
    assert signature(Client.__init__) == signature(gossipd.client.Client.__init__)
    assert {name for name in dir(BlockingQuery) if not name.startswith("_")} == {
        name for name in dir(Query) if not name.startswith("_")}


def test_one_connection_serves_call_after_call(daemon):
    async def main():
        async with Client(daemon.path) as client:
            assert [member.name for member in await client.members(tags={"role": "web"})] == ["alpha"]
            assert (await client.stats())["agent"] == {"name": "alpha"}
            assert await client.join(["seed"]) == 1
            await client.change_tags({"a": "b"})
            await client.force_leave("beta", prune=True)
            await client.send_event("deploy", b"\xff", coalesce=False)
            await client.answer_query(900, b"fine")
            assert (await client.discovered()).cluster == ""
            assert await client.coordinate("nosuch") is None
            await client.leave()
        assert [command for command in daemon.backend.commands if isinstance(command, (SendEvent, Respond))] == [
            SendEvent(3, "deploy", b"\xff", False), Respond(4, 900, b"fine")]
    run(main)()


def test_keys_and_coordinates_are_typed(daemon):
    async def main():
        daemon.backend.coordinates = {"beta": Coordinate((0.0,) * 8, 1.5, 0.0, 0.25)}
        daemon.backend.results[ChangeKeys] = KeyOutcome(2, 2, 1, {"beta": "no"}, {"k": 2}), "1/2 nodes reported failure"
        async with Client(daemon.path) as client:
            for change in (client.install_key, client.use_key, client.remove_key):
                result = await change("AAECAwQFBgcICQoLDA0ODw==")
                assert (result.error, result.messages) == ("1/2 nodes reported failure", {"beta": "no"})
            assert (await client.list_keys()).keys == {"k": 2}
            with pytest.raises(ClientError, match="^illegal base64 data at input byte 1$"):
                await client.use_key("a!")
            here = await client.coordinate("beta")
            assert here is not None and here.height == 0.25
    run(main)()


def test_a_refused_call_names_limit_and_size_and_the_connection_goes_on(daemon):
    async def main():
        daemon.backend.join_outcome = (0, "2 errors occurred:\n\t* a\n\t* b\n\n")
        async with Client(daemon.path) as client:
            with pytest.raises(JoinFailed) as caught:
                await client.join(["a", "b"])
            assert caught.value.reasons == ["a", "b"]
            daemon.backend.refuse, daemon.backend.refuse_detail = "exceeds limit of 512 bytes", "513 bytes"
            with pytest.raises(ClientError, match="^exceeds limit of 512 bytes: 513 bytes$"):
                await client.send_event("x")
            with pytest.raises(ClientError, match="Invalid event filter"):
                await client.events("bogus")
            assert await client.stats()
        async with Client(daemon.path, own_view=False) as client:
            with pytest.raises(ClientError, match="^exceeds limit of 512 bytes$"):
                await client.send_event("x")
    run(main)()


def test_events_are_iterated_until_the_connection_ends(daemon):
    daemon.events = [MemberEvent("member-join", [a_member("x", 1), a_member("y", 2)]), UserEvent("u", b"1", 3, True),
                     QueryEvent(900, "load", None, 3, "beta", 9.0)]

    async def main():
        seen = []
        async with Client(daemon.path) as client:
            with pytest.raises(ConnectionLost, match="the daemon closed the connection"):
                async for event in await client.events():
                    seen.append((event.kind, event.name, [member.name for member in event.members]))
            with pytest.raises(ConnectionLost):
                await client.stats()
        assert seen == [("member-join", "", ["x", "y"]), ("user", "u", []), ("query", "load", [])]
    run(main)()


class Log(NoLog):
    def recent(self, level):
        return [f"level {level}", "two\nlines"]


def test_lines_of_the_log(tmp_path):
    async def main(path):
        async with Client(path) as client:
            lines = await client.logs("warn")
            assert isinstance(lines, Stream)
            assert [await lines.__anext__(), await lines.__anext__()] == ["level 30", "two\nlines"]
    with a_daemon(tmp_path / "log.sock", log=Log()) as daemon:
        run(main)(daemon.path)


def test_other_calls_and_streams_go_on_between_events_and_a_closed_stream_is_over(daemon):
    daemon.events, daemon.hangs_up = [UserEvent("e", None, n, False) for n in range(3)], False

    async def main():
        async with Client(daemon.path) as client:
            first, second = await client.events("user"), await client.events("user:e")
            assert (await first.__anext__()).name == "e" and (await second.__anext__()).name == "e"
            assert (await client.stats())["agent"]
            await second.aclose()
            assert not second._records.waiting
            for _ in range(3):
                assert await client.members() and (await first.__anext__()).name == "e"
            assert not second._records.waiting
    run(main)()


def test_a_query_tells_who_did_what(daemon):
    daemon.backend.parts = [QueryAnswer("alpha", ack=True), QueryAnswer("beta", b"1")]
    daemon.backend.results[StartQuery] = QueryOutcome(["alpha"], ["beta"], ["gamma"]), ""

    async def main():
        async with Client(daemon.path) as client:
            for _ in range(2):
                query = await client.query("load", b"x", nodes=["alpha"], tags={"role": "w"}, timeout_s=1.5)
                assert query.silent is None and not query.over
                answers = [answer async for answer in query]
                assert repr(answers) == "[Answer('alpha', ack), Answer('beta', b'1')]"
                assert (query.acked, query.answered, query.silent) == (["alpha"], ["beta"], ["gamma"])
                assert [answer async for answer in query] == [] and not client._talk._followed
    run(main)()


def test_a_query_that_never_ends_times_out_and_the_connection_goes_on(tmp_path):
    async def main(daemon):
        async with Client(daemon.path, timeout_s=0.05) as client:
            query = await client.query("load", timeout_s=0.05)
            with pytest.raises(TimedOut):
                async for _ in query:
                    pass
            assert await client.stats() and not query._records.wanted
    with a_daemon(tmp_path / "s", FakeBackend(slow=True)) as daemon:
        run(main)(daemon)


def test_nothing_is_kept_for_who_was_cancelled_before_the_reply(tmp_path):
    async def main(path):
        async with Client(path) as client:
            with trio.move_on_after(0.05) as scope:
                await client.events()
            assert scope.cancelled_caught
            client.timeout_s = 10
            assert (await client.stats())["agent"]["name"] == "alpha"
            assert not any(records.waiting for records in client._talk._followed.values())
    event = pack(OK | {"Seq": 2}) + pack({"Event": "user", "Name": "e"})
    stats = pack(OK | {"Seq": 3}) + pack({"agent": {"name": "alpha"}})
    with a_stranger(tmp_path / "s", pack(OK), b"", pack(OK | {"Seq": 2}) + 3 * event + stats) as path:
        run(main)(path)


def test_a_socket_whose_queue_is_full_is_waited_for(tmp_path):
    async def main(path, listener):
        with pytest.raises(TimedOut):
            async with Client(path, timeout_s=0.1):
                raise AssertionError("entered")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer, listener)
            async with Client(path) as client:
                assert (await client.stats())["agent"]["name"] == "alpha"

    async def answer(listener):
        await trio.sleep(0.1)
        listener.accept()[0].close()
        connection, _ = await trio.to_thread.run_sync(listener.accept)
        with connection:
            await trio.to_thread.run_sync(connection.recv, 65536)
            connection.sendall(pack(OK))
            await trio.to_thread.run_sync(connection.recv, 65536)
            connection.sendall(pack(OK | {"Seq": 2}) + pack({"agent": {"name": "alpha"}}))

    path = str(tmp_path / "full.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        run(main)(path, listener)


def test_many_tasks_share_a_connection_and_each_gets_its_own_answer(daemon):
    daemon.backend.coordinates = {f"n{n}": Coordinate((0.0,) * 8, 1.5, 0.0, float(n)) for n in range(100)}

    async def main():
        async def ask(n):
            for _ in range(3):
                found = await client.coordinate(f"n{n}")
                assert found is not None and found.height == n
            done.append(n)

        done: list[int] = []
        async with Client(daemon.path) as client, trio.open_nursery() as nursery:
            for n in range(100):
                nursery.start_soon(ask, n)
        assert sorted(done) == list(range(100))
    run(main)()


def test_who_reads_for_others_may_be_cancelled_and_a_late_answer_is_nobodys(tmp_path):
    async def main(path):
        async with Client(path, timeout_s=0.2) as client:
            with trio.move_on_after(0.05) as scope:     # reads, and gets nothing
                await client.stats()
            assert scope.cancelled_caught
            with pytest.raises(TimedOut):
                await client.stats()
            client.timeout_s = 10
            async with trio.open_nursery() as nursery:
                cancelled = trio.CancelScope()

                async def reads():
                    with cancelled:
                        await client.coordinate("a")

                nursery.start_soon(reads)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(expect_agent, client, "third")
                await trio.testing.wait_all_tasks_blocked()
                cancelled.cancel()
            with pytest.raises(ClientError, match="^no$"):
                await client.force_leave("x")

    async def expect_agent(client, name):
        assert (await client.stats())["agent"]["name"] == name

    def stats(seq, name):
        return pack({"Error": "", "Seq": seq}) + pack({"agent": {"name": name}})

    late = stats(2, "first") + stats(3, "second") + pack({"Error": "", "Seq": 4}) + pack({"Ok": False})
    with a_stranger(tmp_path / "s", pack(OK), b"", b"", b"", late + stats(5, "third"),
                    pack({"Error": "no", "Seq": 6})) as path:
        run(main)(path)


def test_who_is_not_let_in_hears_it_on_entering(tmp_path):
    async def main(path):
        with pytest.raises(ClientError, match="^Invalid authentication token$"):
            async with Client(path, auth_key="wrong"):
                raise AssertionError("entered")
        async with Client(path, auth_key="sesame") as client:
            assert await client.members()
        async with Client(path) as client:
            with pytest.raises(ClientError, match="^Authentication required$"):
                await client.members()
            with pytest.raises(ClientError, match="^Authentication required$"):
                await client.list_keys()
    with a_daemon(tmp_path / "s", auth_key="sesame") as daemon:
        run(main)(daemon.path)


def test_what_happens_inside_comes_out_as_it_is(daemon):
    async def main():
        with pytest.raises(KeyError):       # no group around it
            async with Client(daemon.path):
                raise KeyError
    run(main)()


@pytest.mark.parametrize("address", ["/nowhere/rpc.sock", "127.0.0.1:1", "nonsense", "127.0.0.1:x"])
def test_an_address_where_nobody_answers_is_unreachable(address):
    async def main():
        with pytest.raises(Unreachable, match=address.split(":")[0]):
            async with Client(address):
                raise AssertionError("entered")
    run(main)()


@pytest.mark.parametrize("address", ["\udcff:1", "\u00e9..:1", "\u00e9" * 100 + ":1", "/\ud800", "/" + "x" * 300])
def test_an_address_that_is_none_is_unreachable(address):
    async def main():
        with pytest.raises(Unreachable):
            async with Client(address):
                raise AssertionError("entered")
    run(main)()


@pytest.mark.parametrize(("answer", "error"), [
    (b"HTTP/1.1 400 Bad Request", ClientError), (pack([1]), ConnectionLost),
    (pack({"Error": "", "Seq": 77}), ConnectionLost), (pack({"Error": "", "Seq": [1]}), ConnectionLost),
])
def test_what_is_no_daemon_is_found_out(tmp_path, answer, error):
    async def main(path):
        with pytest.raises(error, match="what answers there is not gossipd or Serf"):
            async with Client(path):
                raise AssertionError("entered")
    with a_stranger(tmp_path / "s", answer) as path:
        run(main)(path)


def test_an_answer_that_is_nonsense_is_found_out(tmp_path):
    async def main(path):
        async with Client(path) as client:
            with pytest.raises(ClientError, match="what answers there is not gossipd or Serf"):
                await client.members()
    answers = pack({"Error": "", "Seq": 1}) + pack({"Error": "", "Seq": 2}) + pack({"Members": [1]})
    with a_stranger(tmp_path / "s", answers) as path:
        run(main)(path)


def test_a_silent_daemon_is_timed_out(tmp_path):
    async def main(path):
        with pytest.raises(TimedOut, match=r"within 0\.05 s"):
            async with Client(path, timeout_s=0.05):
                raise AssertionError("entered")
    with a_stranger(tmp_path / "s", b"") as path:
        run(main)(path)


def test_closing_wakes_whoever_waits(tmp_path):
    async def main(path):
        async with Client(path) as client, trio.open_nursery() as nursery:
            async def wait():
                with pytest.raises(ConnectionLost, match="this connection was closed"):
                    await client.stats()

            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            client.close()
    with a_stranger(tmp_path / "s", pack(OK), b"") as path:
        run(main)(path)

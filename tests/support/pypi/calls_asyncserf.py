"""With the interpreter that has asyncserf and trio-serf: which of the two, HOST of an agent; prints what calls gave."""

from __future__ import annotations

import json
import os
import sys

package, host = sys.argv[1:]
if package == "asyncserf":
    import anyio as lib
    from asyncserf import serf_client

    group = lib.create_task_group
else:
    import trio as lib
    from trio_serf import serf_client

    group = lib.open_nursery


def names(reply):       # type: ignore[no-untyped-def]
    return sorted(member[b"Name"].decode() for member in reply.body[b"Members"])


async def answer(client, started):      # type: ignore[no-untyped-def]
    async with client.stream("query:load") as queries:
        started.set()
        async for query in queries:
            await query.respond(b"0.7 " + query.payload)


async def calls(client, nursery):       # type: ignore[no-untyped-def]
    results = {"members": names(await client.members())}
    results["filtered"] = names(await client.members(name="a.*", status="alive", tags={"role": "web"}))
    async with client.stream("user:deploy") as stream:
        await client.event("deploy", b"v\xff1", coalesce=False)
        async for event in stream:
            results["heard"] = [event.event, event.name, event.payload.decode("latin-1")]
            break
    started = lib.Event()
    nursery.start_soon(answer, client, started)
    await started.wait()
    results["answers"] = []
    async with client.query("load", b"now", nodes=["ann"], request_ack=True, timeout=1) as query:
        async for record in query:
            payload = record.payload.decode() if record.payload else None
            results["answers"].append([record.type, getattr(record, "from"), payload])
    results["answers"].sort()
    results["stats"] = (await client.stats()).body[b"agent"][b"name"].decode()
    with lib.move_on_after(1.0):       # it waits for a body that no agent sends
        await client.tags(dc="east")
    return results


async def main():       # type: ignore[no-untyped-def]
    async with serf_client(host=host) as client:
        with lib.fail_after(20):
            async with group() as nursery:
                print(json.dumps(await calls(client, nursery)), flush=True)
                os._exit(0)     # its own end makes the agent leave


lib.run(main)

"""With the interpreter that has serfio: HOST of an agent; prints what the calls gave."""

from __future__ import annotations

import asyncio
import json
import sys

from serfio.serf import Serf


async def first(stream, ready):     # type: ignore[no-untyped-def]
    """The first record. Such streams subscribe when they are read: `ready` is called a little later."""
    reading = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.3)
    await ready()
    return await asyncio.wait_for(reading, 10)


async def main(host):       # type: ignore[no-untyped-def]
    results = {}
    async with Serf(host) as client, Serf(host) as listener, Serf(host) as answering, Serf(host) as logs:
        results["members"] = sorted(member["Name"] for member in await client.members())
        filtered = await client.members_filtered(name="a.*", status="alive", tags={"role": "web"})
        results["filtered"] = [member["Name"] for member in filtered]
        record = await first(listener.stream("user:deploy"), lambda: client.event("deploy", b"v\xff1"))
        results["heard"] = [record["Event"], record["Name"], record["Payload"].decode("latin-1")]

        async def answer():     # type: ignore[no-untyped-def]
            async for query in answering.stream("query:load"):
                await answering.respond(query["ID"], b"0.7 " + query["Payload"])

        task = asyncio.create_task(answer())
        await asyncio.sleep(0.3)
        answers = [a async for a in client.query("load", b"now", filter_nodes=["ann"], timeout=10**9)]
        results["answers"] = [[a["Type"], a["From"], a["Payload"].decode()] for a in answers]
        task.cancel()
        await client.tags({"dc": "east"})
        results["tags"] = (await client.stats())["tags"]
        await client.tags({"role": "web"}, ["dc"])     # it sends the new tags as those to delete
        results["tags after"] = (await client.stats())["tags"]
        line = await anext(logs.monitor("DEBUG"))
        results["monitor"] = list(line)
    return results


print(json.dumps(asyncio.run(main(sys.argv[1]))), flush=True)

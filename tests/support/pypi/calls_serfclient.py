"""With the interpreter that has serfclient: HOST of an agent, address of one to join; prints what the calls gave."""

from __future__ import annotations

import json
import sys

from serfclient.client import SerfClient

host, other = sys.argv[1:]
client, listener = SerfClient(host, 7373), SerfClient(host, 7373)
results = {"join": client.join([other]).body}
results["members"] = sorted(member["Name"] for member in client.members().body["Members"])
filtered = client.members(status="alive", tags={"role": "w.*"})
results["filtered"] = [member["Name"] for member in filtered.body["Members"]]
results["nobody"] = client.members(name="nobody").body
stream = listener.stream("user:deploy")
results["stream"] = stream.head
events = [client.event("other"), client.event("deploy", b"v\xff1", coalesce=False),
          client.event("deploy", "text", coalesce=False)]
results["event"] = [event.head["Error"] for event in events]
records = [next(stream.body).body for _ in range(2)]
results["heard"] = [[record["Event"], record["Name"], record["Payload"].decode("latin-1")] for record in records]
results["force_leave"] = client.force_leave("nobody").head["Error"]
results["stats"] = client.stats().body["serf"]["members"]
print(json.dumps(results))

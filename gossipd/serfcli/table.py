"""The commands of Serf's command line, and the flags of those that talk to an agent. `agent` has its own."""

from __future__ import annotations

from gossipd.serfcli.flags import DURATION, LIST, SWITCH, TEXT, WHOLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAM = "serf"
ABOUT: dict[str, tuple[str, str]] = {
    # name: what may follow it, what it does
    "agent": ("[options]", "Run an agent: a member of the cluster"),
    "event": ("[options] name payload", "Send an event to all members"),
    "force-leave": ("[options] name", "Declare a failed member left"),
    "info": ("[options]", "Show what the agent knows of itself"),
    "join": ("[options] address ...", "Make the agent join a cluster through one of its members"),
    "keygen": ("", "Make an encryption key"),
    "keys": ("[options]...", "Install, use, remove and list the cluster's encryption keys"),
    "leave": ("", "Make the agent leave its cluster and end"),
    "members": ("[options]", "List the members of the cluster"),
    "monitor": ("[options]", "Follow the agent's log and its events"),
    "query": ("[options] name payload", "Ask all members, and show who answers what"),
    "reachability": ("[options]", "See which members can be reached"),
    "rtt": ("[options] node1 [node2]", "Estimate how far two members are from each other"),
    "tags": ("[options] ...", "Change what the agent says of itself"),
    "version": ("", "Show the version"),
}

Flag = tuple[str, str, str]
"""Kind, how it is written, what it does."""

CONNECTION: dict[str, Flag] = {
    "rpc-addr": (TEXT, "-rpc-addr=127.0.0.1:7373", "Where the agent listens; else $SERF_RPC_ADDR."),
    "rpc-auth": (TEXT, '-rpc-auth=""', "The agent's key; else $SERF_RPC_AUTH."),
}
_FORMAT: Flag = (TEXT, "-format=text", "text or json.")

FLAGS: dict[str, dict[str, Flag]] = {
    "event": {"coalesce": (SWITCH, "-coalesce=true", "Of several, those who listen may get only the last.")},
    "force-leave": {"prune": (SWITCH, "-prune", "Make the cluster forget it as well.")},
    "info": {"format": _FORMAT},
    "join": {"replay": (SWITCH, "-replay", "Deliver the events that happened before.")},
    "keys": {
        "install": (TEXT, "-install=KEY", "Have all members take this key."),
        "use": (TEXT, "-use=KEY", "Have all members encrypt with this key, which they must have."),
        "remove": (TEXT, "-remove=KEY", "Have all members drop this key, which must not be in use."),
        "list": (SWITCH, "-list", "Show the keys, and on how many members each of them is."),
    },
    "leave": {},
    "members": {
        "detailed": (SWITCH, "-detailed", "Show protocol versions too."),
        "format": _FORMAT,
        "name": (TEXT, "-name=REGEX", "Only members whose whole name matches."),
        "role": (TEXT, "-role=REGEX", "Deprecated: -tag role=REGEX."),
        "status": (TEXT, "-status=REGEX", "Only members whose status matches: alive, leaving, left, failed."),
        "tag": (LIST, "-tag KEY=REGEX", "Only members whose tag matches; repeatable."),
    },
    "monitor": {"log-level": (TEXT, "-log-level=info", "The least to show: trace, debug, info, warn or err.")},
    "query": {
        "format": _FORMAT,
        "node": (LIST, "-node=NAME", "Ask only this member; repeatable."),
        "tag": (LIST, "-tag KEY=REGEX", "Ask only members whose tag matches; repeatable."),
        "timeout": (DURATION, "-timeout=15s", "How long to wait for answers; 0: the agent decides."),
        "no-ack": (SWITCH, "-no-ack", "Do not have members acknowledge the query."),
        "relay-factor": (WHOLE, "-relay-factor=0", "Members through which each answer is sent once more."),
    },
    "reachability": {"verbose": (SWITCH, "-verbose", "Show each answer, and how long it took.")},
    "rtt": {},
    "tags": {
        "set": (LIST, "-set KEY=VALUE", "Set a tag; repeatable."),
        "delete": (LIST, "-delete KEY", "Remove a tag; repeatable."),
    },
}


def flags_of(command: str) -> Mapping[str, Flag]:
    return {**FLAGS[command], **CONNECTION}


def kinds_of(command: str) -> Mapping[str, str]:
    return {name: flag[0] for name, flag in flags_of(command).items()}


def usage(command: str) -> str:
    """The usage text of one command."""
    if command == "agent":
        from gossipd.serfcli.agent.flags import FLAGS as flags
    else:
        flags = dict(flags_of(command)) if command in FLAGS else {}
    words, what = ABOUT[command]
    first = f"Usage: {PROGRAM} {command} {words}".rstrip()
    width = max((len(flag[1]) for flag in flags.values()), default=0)
    options = [f"  {shown:{width}}  {text}" for _, shown, text in flags.values()]
    return "\n".join([first, "", f"  {what}.", *(["", "Options:", "", *options] if options else [])])


def overview() -> str:
    """The usage text of the whole."""
    lines = [f"    {command:15} {what}" for command, (_, what) in ABOUT.items()]
    first = f"Usage: {PROGRAM} [--version] [--help] <command> [<args>]"
    return "\n".join([first, "", "Available commands are:", *lines])

"""Every command and option of gossipctl, said once: parsing, help, completion and the man page all come from here.

argparse would take half of the time that `gossipctl members` has.
"""

from __future__ import annotations

FLAG, VALUE, LIST = "flag", "value", "list"
TABLE, WIDE, NAME, JSON, JSONL, TEXT = "table", "wide", "name", "json", "jsonl", "text"
MEMBERS, FILES = "members", "files"         # hints for completion


class Option:
    """`names` like "-o --output". A VALUE is text, "" if not given; a LIST collects; a FLAG is True or False.

    `hint`: what completion offers as its value, besides `choices`, which are all that there is: MEMBERS, FILES, words.
    """

    __slots__ = ("names", "metavar", "kind", "help", "choices", "hint")

    def __init__(self, names: str, metavar: str, help: str, kind: str = VALUE, choices: tuple[str, ...] = (),
                 hint: str | tuple[str, ...] = "") -> None:
        self.names = names.split()
        self.metavar, self.kind, self.help, self.choices, self.hint = metavar, kind, help, choices, hint

    @property
    def key(self) -> str:
        """The name under which the value is found: of "-o --output", "output"."""
        return self.names[-1].lstrip("-").replace("-", "_")


class Command:
    """`module` of gossipd.ctl.commands has `run_<name>`. `arguments` is what help shows; counts are checked.

    What completion offers as arguments: `hint` for all of them, or `words` for the first, the second and so on.
    """

    __slots__ = ("name", "summary", "arguments", "least", "most", "module", "options", "examples", "about", "hint",
                 "words")

    def __init__(
        self, name: str, summary: str, module: str, arguments: str = "", least: int = 0, most: int = 0,
        options: tuple[Option, ...] = (), examples: tuple[tuple[str, str], ...] = (), about: str = "", hint: str = "",
        words: tuple[tuple[str, ...], ...] = (),
    ) -> None:
        self.name, self.summary, self.module, self.arguments = name, summary, module, arguments
        self.least, self.most, self.options, self.examples, self.about = least, most, options, examples, about
        self.hint, self.words = hint, words


ANY_NUMBER = 1 << 30


def output(*choices: str) -> Option:
    return Option("-o --output", "FORMAT", f"one of {', '.join(choices)}; {choices[0]} by default", choices=choices)


GLOBAL_OPTIONS = (
    Option("--rpc-socket", "PATH", "unix socket of the daemon", hint=FILES),
    Option("--rpc-addr", "HOST:PORT", "TCP address of the daemon, or of a Serf agent (port 7373 by default)"),
    Option("--rpc-auth", "KEY", "key that the daemon asks for"),
    Option("--timeout", "SECONDS", "how long to wait for an answer; 10 by default, 60 for what changes the cluster"),
    Option("-h --help", "", "show help and exit", FLAG),
    Option("--version", "", "show the version and exit", FLAG),
)

COMMANDS = {command.name: command for command in (
    Command(
        "members", "list the members of the cluster", "members",
        options=(
            Option("--status", "REGEX", "only members with this status: alive, suspect, leaving, left, failed",
                   hint=("alive", "suspect", "leaving", "left", "failed")),
            Option("--name", "REGEX", "only members with this name"),
            Option("--tag", "KEY=REGEX", "only members whose tag has this value; may be repeated", LIST),
            output(TABLE, WIDE, NAME, JSON, JSONL),
        ),
        about="Expressions are RE2 and must match as a whole. A missing tag counts as empty. A member under suspicion "
              "is shown as suspect and matches both alive and suspect. Exit status 3: nothing matched.",
        examples=(
            ("gossipctl members", "everybody, by name"),
            ("gossipctl members --status failed -o name", "the names of failed members, for a script"),
            ("gossipctl members --tag role=web --tag 'dc=eu-.*'", "members with both tags"),
            ("gossipctl members -o wide", "since when, reported by whom, round-trip time"),
            ("gossipctl members -o json | jq '.members[].address'", "for other programs"),
        )),
    Command(
        "join", "make the daemon join a cluster", "cluster", "ADDRESS...", 1, ANY_NUMBER,
        options=(Option("--replay", "", "also deliver user events from before the join", FLAG), output(TEXT, JSON)),
        about="An address is HOST, HOST:PORT or [IPv6]:PORT; without a port the daemon's own gossip port is meant. "
              "Exit status 4: only some could be contacted.",
        examples=(
            ("gossipctl join 10.0.0.5", "one known member is enough"),
            ("gossipctl join seed-1 seed-2:7947", "several, in case one is down"),
        )),
    Command(
        "leave", "make the daemon leave the cluster and end", "cluster",
        options=(output(TEXT, JSON),),
        examples=(("gossipctl leave", "the others see it as left, not as failed"),)),
    Command(
        "force-leave", "declare a failed member left", "cluster", "NAME", 1, 1,
        options=(Option("--prune", "", "also make the cluster forget it", FLAG), output(TEXT, JSON)),
        about="A member that is in fact alive comes back by itself. Exit status 3: no member has this name.",
        hint=MEMBERS,
        examples=(
            ("gossipctl force-leave db-3", "stop trying to reconnect"),
            ("gossipctl force-leave --prune db-3", "and remove it from the list of members"),
        )),
    Command(
        "discover", "show who is heard of on the local network", "discover",
        options=(
            Option("--wait", "SECONDS", "how long to wait for answers to a new question; 1 by default, 0: do not ask"),
            output(TABLE, JSON),
        ),
        about="Lists whom the daemon hears of by multicast DNS, on which interface, and whether it is a member. "
              "Exit status 3: nobody is heard, or discovery is off.",
        examples=(
            ("gossipctl discover", "ask, wait a second, list the answers"),
            ("gossipctl discover --wait 0", "what is known already"),
            ("gossipctl discover -o json | jq '.seen[] | {name, status, failures}'", "for other programs"),
        )),
    Command(
        "info", "show the state of the daemon", "info",
        options=(output(TABLE, JSON),),
        examples=(
            ("gossipctl info", "counters, queues, Lamport times, tags"),
            ("gossipctl info -o json | jq -r .serf.members", "one number"),
        )),
    Command(
        "event", "send an event to all members", "send", "NAME [PAYLOAD]", 1, 2,
        options=(
            Option("--coalesce", "", "who listens may get only the last of several with this name; the default", FLAG),
            Option("--no-coalesce", "", "who listens gets every one, at once", FLAG),
            output(TEXT, JSON),
        ),
        about="PAYLOAD is sent as it is; - reads it from standard input, byte for byte. Name and payload together may "
              "have 512 bytes unless the daemon allows more.",
        examples=(
            ("gossipctl event deploy v1.2", "handlers for user:deploy run everywhere"),
            ("gossipctl event --no-coalesce config - < changes.bin", "a payload of any bytes"),
        )),
    Command(
        "query", "ask members and show their answers", "query", "NAME [PAYLOAD]", 1, 2,
        options=(
            Option("--node", "NAME", "ask this member only; may be repeated", LIST, hint=MEMBERS),
            Option("--tag", "KEY=REGEX", "ask those whose tag contains a match; may be repeated: all must match", LIST),
            Option("--timeout", "SECONDS", "when it is over at the latest; by default longer for larger clusters"),
            Option("--no-ack", "", "do not ask members to say that they got it", FLAG),
            Option("--relay-factor", "N", "have answers come by way of N other members too"),
            output(TEXT, JSON, JSONL),
        ),
        about="Ends as soon as every live member that was asked has answered, or has said that nobody there will; with "
              "--no-ack and with members that run Serf, that cannot be known and it takes the whole time. PAYLOAD - "
              "reads standard input. Exit status 3: nobody matches. Exit status 4: of some, nothing was heard, or "
              "it cannot be told whom the expressions ask.",
        examples=(
            ("gossipctl query load", "every member's answer, who got it, who did not"),
            ("gossipctl query --tag role=web --timeout 2 restart", "of some members, for 2 seconds at most"),
            ("gossipctl query -o json uptime | jq '.answers[] | {node, payload}'", "for other programs"),
        )),
    Command(
        "respond", "answer a query", "send", "QUERY [PAYLOAD]", 1, 2,
        options=(output(TEXT, JSON),),
        about="QUERY is the number that `gossipctl events --type query -o jsonl` shows as query. PAYLOAD - reads "
              "standard input. Only the first answer of a daemon counts.",
        examples=(
            ("gossipctl respond 7 'all well'", "for a script that follows queries, and is not run by the daemon"),
        )),
    Command(
        "reachability", "ask all members to say that they are there", "query",
        options=(output(TABLE, JSON),),
        about="Exit status 4: some live members were not heard of.",
        examples=(
            ("gossipctl reachability", "how long each took"),
            ("gossipctl reachability -o json | jq -r '.silent[]'", "who cannot be reached"),
        )),
    Command(
        "rtt", "estimate the round trip between two members", "rtt", "NODE [NODE]", 1, 2,
        options=(output(TEXT, JSON),),
        about="With one NODE the other one is the daemon's own. Exit status 3: nothing is known of a member.",
        hint=MEMBERS,
        examples=(
            ("gossipctl rtt db-3", "from here"),
            ("gossipctl rtt web-1 db-3", "between two others"),
        )),
    Command(
        "keys", "list or change the encryption keys of all members", "keys",
        "list | install KEY | use KEY | remove KEY", 1, 2,
        options=(output(TABLE, JSON),),
        about="KEY is base64, - reads it from standard input. To change the key: install the new one, use it, remove "
              "the old one, each on all members. Exit status 4: only some did it.",
        examples=(
            ("gossipctl keys list", "on how many members each key is, and is in use"),
            ("gossipctl keygen | tee new.key | gossipctl keys install -", "a new key, unseen by other users"),
            ("gossipctl keys use - < new.key", "encrypt with it from now on"),
        )),
    Command(
        "keygen", "make an encryption key", "keys",
        options=(Option("--bytes", "N", "length of the key: 16, 24 or 32; 32 by default", choices=("16", "24", "32")),),
        about="Needs no daemon.",
        examples=(("gossipctl keygen > cluster.key", "for encryption.key or for keys install"),)),
    Command(
        "monitor", "follow the daemon's log", "monitor",
        options=(
            Option("--level", "LEVEL", "from this level on: debug, info, warning, error; info by default, whatever the "
                   "daemon itself writes", choices=("debug", "info", "warning", "error")),
        ),
        about="Shows the last lines, 512 at most, and goes on until it is interrupted or the daemon ends.",
        examples=(
            ("gossipctl monitor", "what the daemon is doing"),
            ("gossipctl monitor --level warning", "what went wrong lately"),
        )),
    Command(
        "events", "follow what happens in the cluster", "events",
        options=(
            Option("--type", "KIND", "only this: member-join, member-leave, member-failed, member-update, member-reap, "
                   "user, user:NAME, query, query:NAME; may be repeated", LIST,
                   hint=("member-join", "member-leave", "member-failed", "member-update", "member-reap", "user",
                         "query")),
            Option("--count", "N", "end after N events"),
            Option("--json", "", "the same as -o jsonl", FLAG),
            output(TEXT, JSONL),
        ),
        about="Runs until it is interrupted or the daemon ends; --timeout is only for the beginning.",
        examples=(
            ("gossipctl events", "everything, a line each"),
            ("gossipctl events --type member-failed --type member-leave", "who goes"),
            ("gossipctl events --json | jq -r 'select(.event == \"user\").name'", "names of user events"),
            ("gossipctl events --type member-join --count 1", "wait for the next join"),
        )),
    Command(
        "completion", "write a script by which a shell completes command lines", "completion", "SHELL [PROGRAM]", 1, 2,
        about="SHELL is bash, zsh or fish, PROGRAM is gossipctl or gossipd, by default gossipctl. Needs no daemon; but "
              "the names of members that are offered are those that it knows at the moment, as `gossipctl completion "
              "members` lists them for the scripts.",
        examples=(
            ("source <(gossipctl completion bash)", "for this shell"),
            ("gossipctl completion fish > ~/.config/fish/completions/gossipctl.fish", "for all that come"),
            ("gossipctl completion zsh gossipd > ~/.zfunc/_gossipd", "the daemon's flags"),
        ),
        words=(("bash", "zsh", "fish"), ("gossipctl", "gossipd"))),
    Command(
        "migrate", "make settings of gossipd from a file of Serf's", "migrate", "SERF.JSON [SNAPSHOT]", 1, 2,
        about="Writes TOML with comments to standard output, to standard error what has no equivalent. gossipd goes "
              "on with the SNAPSHOT of a Serf agent that does not run any more. Needs no daemon. Exit status 4: "
              "something has no equivalent.",
        hint=FILES,
        examples=(
            ("gossipctl migrate /etc/serf/serf.json > /etc/gossipd/50-serf.toml", "read by the packaged gossipd"),
            ("gossipctl migrate serf.json /var/lib/serf/snapshot > gossipd.toml", "remembering the members"),
        )),
    Command(
        "tags", "show or change the daemon's own tags", "tags", "list | set KEY=VALUE... | unset KEY...",
        1, ANY_NUMBER,
        options=(output(TABLE, JSON),),
        about="Says how many bytes the tags take, of the 512 that there are.",
        examples=(
            ("gossipctl tags list", "what the cluster knows about this member"),
            ("gossipctl tags set role=web dc=eu-1", "add or change"),
            ("gossipctl tags unset dc", "remove"),
        )),
)}

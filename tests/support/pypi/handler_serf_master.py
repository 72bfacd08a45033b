"""An event handler that is made of serf-master, for the interpreter that has it: appends to the file DIRECTORY/said."""

from __future__ import annotations

import os
import sys

from serf_master import SerfHandler, SerfHandlerProxy


def say(*words):        # type: ignore[no-untyped-def]
    with open(sys.argv[1], "a") as file:
        file.write(" ".join(words) + "\n")


class Anyone(SerfHandler):
    def member_join(self):      # type: ignore[no-untyped-def]
        say("anyone", self.name, self.event, *sorted(line.split("\t")[0] for line in sys.stdin))


class Web(Anyone):
    def deploy(self):       # type: ignore[no-untyped-def]
        say("web", self.name, self.event, os.environ["SERF_USER_LTIME"].isdigit() and "ltime", sys.stdin.read().strip())

    def load(self):     # type: ignore[no-untyped-def]
        print("0.7", sys.stdin.read().strip(), self.role, end="")

    def member_update(self):        # type: ignore[no-untyped-def]
        say("web", self.name, self.event, self.role)


if __name__ == "__main__":
    proxy = SerfHandlerProxy()
    proxy.register("default", Anyone())
    proxy.register("web", Web())
    proxy.run()

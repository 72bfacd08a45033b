"""Interactive shells on a terminal of their own, to press keys in.

    with bash(directory, programs) as shell:
        shell.words("gossipctl memb\t")             # ["gossipctl", "members"]: what the line then means to the shell
        shell.words("gossipctl rtt " + shell.ALL)   # with all that it offers in place
"""

from __future__ import annotations

import fcntl
import os
import pty
import subprocess
import termios
from pathlib import Path
from select import select

from tests.support.processes import die_with_parent, wait_until

START_S, ANSWER_S = 20.0, 20.0
START_OF_LINE = "\x01"
ALL = "\x18a"           # inserts all that is offered, as the files below say


def _take_terminal() -> None:
    die_with_parent()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Shell:
    """`argv` reads a file that defines `record`, which writes its arguments to `answer`, each ended by a NUL."""

    def __init__(self, argv: list[str], directory: Path, environment: dict[str, str]) -> None:
        self.answer = directory / "answer"
        self._terminal, theirs = pty.openpty()
        self._process = subprocess.Popen(
            argv, cwd=directory, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=_take_terminal)
        os.close(theirs)
        self.shown = b""
        self._say("record ready\r", START_S)

    def words(self, keys: str) -> list[str]:
        """What the line means to the shell after these keys."""
        return self._say(f"{keys}{START_OF_LINE}record \r", ANSWER_S)

    def _say(self, keys: str, within_s: float) -> list[str]:
        self.answer.unlink(missing_ok=True)
        os.write(self._terminal, os.fsencode(keys))
        wait_until(self._answered, lambda: f"an answer to {keys!r}: {self.shown[-2000:]!r}", within_s)
        return [os.fsdecode(word) for word in self.answer.read_bytes().split(b"\0")[:-1]]

    def _answered(self) -> bool:
        while select([self._terminal], [], [], 0)[0]:
            self.shown += os.read(self._terminal, 65536)
            assert self._process.poll() is None, f"the shell ended: {self.shown!r}"
        return self.answer.exists()

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)


RECORD = r"""
record() { printf '%s\0' "$@" >answer.new; command mv answer.new answer; }
PS1='> '
"""

BASH = r"""
bind 'set bell-style none' 'set completion-query-items 0' 2>/dev/null
bind 'set page-completions off'
bind 'set enable-bracketed-paste off'
bind '"\C-xa": insert-completions'
"""

ZSH = r"""
unsetopt BEEP PROMPT_SP
LISTMAX=10000
autoload -Uz compinit && compinit -u -D
zle -C all-matches complete-word _generic
bindkey '^Xa' all-matches
zstyle ':completion:all-matches::::' completer _all_matches _complete
zstyle ':completion:all-matches:*' insert true
"""


def bash(program: str, directory: Path, environment: dict[str, str], scripts: list[Path]) -> Shell:
    """With these completions, as the package bash-completion would load them."""
    rc = directory / "bashrc"
    rc.write_text(RECORD + BASH + "".join(f"source '{script}'\n" for script in scripts))
    return Shell([program, "--noprofile", "--rcfile", str(rc), "-i"], directory, environment)


def zsh(program: str, directory: Path, environment: dict[str, str], scripts: list[Path]) -> Shell:
    """With these completions in its function path."""
    (directory / ".zshrc").write_text(
        "".join(f"fpath=('{script.parent}' $fpath)\n" for script in scripts[:1]) + ZSH + RECORD)
    return Shell([program, "-d", "-i"], directory, {**environment, "ZDOTDIR": str(directory)})


FISH = r"""
function record; printf '%s\0' $argv >answer.new; command mv answer.new answer; end
function fish_prompt; echo '> '; end
function fish_greeting; end
set -g fish_autosuggestion_enabled 0
function insert_all; commandline -t -- (string join ' ' -- (complete --escape -C | string replace -r '\t.*' '')); end
bind \cxa insert_all
"""


def fish(program: str, directory: Path, environment: dict[str, str], scripts: list[Path]) -> Shell:
    """With these completions where a user's are looked for."""
    places = directory / ".config/fish"
    (places / "completions").mkdir(parents=True)
    (places / "config.fish").write_text(FISH)
    for script in scripts:
        (places / "completions" / script.name).symlink_to(script)
    return Shell([program, "-i"], directory, environment)

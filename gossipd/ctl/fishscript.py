"""Completion for fish 3.1 and later."""

from __future__ import annotations

from gossipd.ctl.hints import ASK, Hint, header, of_arguments, of_value, where_options, with_value
from gossipd.ctl.table import FILES, FLAG, MEMBERS, Command, Option

FUNCTIONS = f'''
# is $argv[1] the command, and the number of arguments so far one of the others, if there are any?
function __PROGRAM_at
    set -l command
    set -l count 0
    set -l skip no
    for word in (commandline -opc)[2..-1]
        if test $skip = yes
            set skip no
            continue
        end
        switch $word
            case WITH_VALUE
                set skip yes
            case '-*'
            case '*'
                if set -q command[1]
                    set count (math $count + 1)
                else
                    set command $word
                end
        end
    end
    test "$command" = "$argv[1]" || return
    not set -q argv[2] || contains $count $argv[2..-1]
end

function __PROGRAM_members
    set -l words (commandline -opc)
    set -l where
    for i in (seq 2 (count $words))
        switch $words[$i]
            case WHERE
                set -a where $words[$i] (string replace -r '^~/' $HOME/ -- $words[(math $i + 1)])
            case WHERE_IS
                set -a where $words[$i]
        end
    end
    gossipctl $where {ASK}
end
'''


def make(program: str, options: list[Option], commands: dict[str, Command]) -> str:
    lines = [f"# {header('fish', program)}\n"]
    if commands:
        where = where_options()
        functions = FUNCTIONS.replace("WITH_VALUE", " ".join(with_value(options, commands)))
        functions = functions.replace("WHERE_IS", " ".join(f"'{name}=*'" for name in where))
        lines += [functions.replace("WHERE", " ".join(where)), "\n"]
    lines.append("complete -c PROGRAM -f\n")
    for option in options:
        elsewhere = [command.name for command in commands.values() if _means(command, option)]
        lines.append(_option(option, " && ".join(f"not __PROGRAM_at {name}" for name in elsewhere)))
    for command in commands.values():
        lines += _command(command)
    return "".join(lines).replace("PROGRAM", program)


def _means(command: Command, option: Option) -> bool:
    """Does the command have an option of its own by this name?"""
    return any(own.names == option.names for own in command.options)


def _command(command: Command) -> list[str]:
    lines = [f"complete -c PROGRAM -n '__PROGRAM_at \"\"' -a {command.name} -d {_quoted(command.summary)}\n"]
    lines += [_option(option, f"__PROGRAM_at {command.name}") for option in command.options]
    for position, hint in enumerate(of_arguments(command)):
        lines.append(f"complete -c PROGRAM -n '__PROGRAM_at {command.name} {position}' {_offer(hint)}\n")
    return lines


def _option(option: Option, condition: str) -> str:
    names = "".join(f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}" for name in option.names)
    hint = of_value(option)
    value = "" if option.kind == FLAG else f" -r {_offer(hint)}" if hint == FILES else f" -x {_offer(hint)}".rstrip()
    when = f" -n {_quoted(condition)}" if condition else ""
    return f"complete -c PROGRAM{when}{names}{value} -d {_quoted(option.help)}\n"


def _offer(hint: Hint) -> str:
    if hint == MEMBERS:
        return "-a '(__PROGRAM_members)'"
    if hint == FILES:
        return "-F"
    return f"-a '{' '.join(hint)}'" if hint else ""


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

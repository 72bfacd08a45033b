"""Completion for zsh: loaded by compinit by the name _PROGRAM, or sourced."""

from __future__ import annotations

from gossipd.ctl.hints import ASK, Hint, header, of_arguments, of_value, options_of, where_options
from gossipd.ctl.table import FILES, FLAG, LIST, MEMBERS, Command, Option

MEMBERS_FUNCTION = f'''
_PROGRAM_members() {{
    local -a names where expl
    local -i i
    for ((i = 2; i < $#typed; i++)); do
        case $typed[i] in
            (WHERE) where+=("${{(Q)typed[i]}}" "${{${{(Q)typed[i+1]}}/#\\~\\//$HOME/}}") ;;
            (WHERE_IS) where+=("${{(Q)typed[i]}}") ;;
        esac
    done
    names=(${{(f)"$(gossipctl "${{(@)where}}" {ASK})"}})
    _wanted members expl member compadd -a names
}}
'''

COMMANDS_FUNCTION = '''
_PROGRAM() {
    local context curcontext=$curcontext state line ret=1
    local -a commands typed=("${(@)words}")
    local -A opt_args
    commands=(
DESCRIBED    )
    _arguments -C -s -A '-*' \\
OPTIONS        '1:command:->command' '*::argument:->argument' && ret=0
    case $state in
        (command) _describe -t commands command commands && ret=0 ;;
        (argument)
            curcontext=${curcontext%:*:*}:PROGRAM-$words[1]:
            case $words[1] in
CASES            esac ;;
    esac
    return ret
}
'''

PLAIN_FUNCTION = '''
_PROGRAM() {
    _arguments -s \\
OPTIONS        '*:argument:( )'
}
'''

END = '''
if [[ $funcstack[1] == _PROGRAM ]]; then
    _PROGRAM "$@"
else
    compdef _PROGRAM PROGRAM
fi
'''


def make(program: str, options: list[Option], commands: dict[str, Command]) -> str:
    members = main = ""
    if commands:
        where = where_options()
        members = MEMBERS_FUNCTION.replace("WHERE_IS", "|".join(f"{name}=*" for name in where))
        members = members.replace("WHERE", "|".join(where))
        described = "".join(f"        {_quoted(f'{one.name}:{one.summary}')}\n" for one in commands.values())
        cases = "".join(map(_case, commands.values()))
        main = COMMANDS_FUNCTION.replace("DESCRIBED", described).replace("CASES", cases)
    else:
        main = PLAIN_FUNCTION
    specs = "".join(f"        {_option(option)} \\\n" for option in options)
    text = f"#compdef {program}\n# {header('zsh', program)}\n{members}{main.replace('OPTIONS', specs)}{END}"
    return text.replace("PROGRAM", program)


def _case(command: Command) -> str:
    specs = [_option(option) for option in options_of(command)]
    specs += [f"'{number}:{_title(hint)}:{_action(hint)}'" for number, hint in enumerate(of_arguments(command), 1)]
    specs += ["'*:argument:( )'"] if command.most > len(of_arguments(command)) else []
    lines = " \\\n".join(" " * 20 + spec for spec in specs)
    return f"                ({command.name})\n                    _arguments -s \\\n{lines} && ret=0 ;;\n"


def _option(option: Option) -> str:
    """For _arguments: not twice, and a value behind a blank or = or, where the name is short, at once."""
    about = option.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
    value, signs = "", {}
    if option.kind != FLAG:
        value = f":{option.metavar.replace(':', ' ')}:{_action(of_value(option))}"
        signs = {name: "=" if name.startswith("--") else "+" for name in option.names}
    specs = [_quoted(f"{name}{signs.get(name, '')}[{about}]{value}") for name in option.names]
    others = "'*'" if option.kind == LIST else f"'({' '.join(option.names)})'"
    return " ".join(others + spec for spec in specs)


def _title(hint: Hint) -> str:
    return "member" if hint == MEMBERS else "file" if hint == FILES else "word"


def _action(hint: Hint) -> str:
    if hint == MEMBERS:
        return "_PROGRAM_members"
    if hint == FILES:
        return "_files"
    return f"({' '.join(hint)})" if hint else " "


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"

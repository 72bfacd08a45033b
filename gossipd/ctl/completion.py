"""gossipctl completion: scripts for bash, zsh and fish, made from the table; they ask the daemon for members' names."""

from __future__ import annotations

from gossipd.ctl.table import COMMANDS, FILES, FLAG, GLOBAL_OPTIONS, MEMBERS, Command, Option

MADE = "completion for gossipctl, made from its own table of commands: gossipctl completion"
ASK = "gossipctl members -o name 2>/dev/null"


def script(shell: str) -> str:
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()


def actions(command: Command) -> list[str]:
    """The words that may come first: of "list | set KEY=VALUE...", list and set."""
    if " | " not in command.arguments:
        return list(command.words)
    return [part.split()[0] for part in command.arguments.split(" | ")]


def options_of(command: Command) -> list[Option]:
    own = {name for option in command.options for name in option.names}
    return [*command.options, *(option for option in GLOBAL_OPTIONS if not own & set(option.names))]


# bash: one function, without the package bash-completion

def _bash() -> str:
    takes_value = sorted({name for command in COMMANDS.values() for option in options_of(command)
                          if option.kind != FLAG for name in option.names})
    where = [name for option in GLOBAL_OPTIONS if option.key.startswith("rpc_") for name in option.names]
    cases = "".join(_bash_case(command) for command in COMMANDS.values())
    return f"""\
# bash {MADE} bash

# names come from strangers: compgen -W would expand them
_gossipctl_members() {{
    local name
    while IFS= read -r name; do
        [[ $name != "$cur"* ]] || COMPREPLY+=("$(printf %q "$name")")
    done < <({ASK.replace('gossipctl', 'gossipctl "${where[@]}"', 1)})
}}

_gossipctl() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} command= options= words= names= i
    local -a where=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${{COMP_WORDS[i]}} in
            {'|'.join(where)}) where+=("${{COMP_WORDS[i]}}" "${{COMP_WORDS[i+1]}}"); ((i++)) ;;
            {'|'.join(name for name in takes_value if name not in where)}) ((i++)) ;;
            -*) ;;
            *) [ -n "$command" ] || command=${{COMP_WORDS[i]}} ;;
        esac
    done
    COMPREPLY=()
    case $prev in
{_bash_values(list(GLOBAL_OPTIONS), "        ")}    esac
    case $command in
        '') options='{_names(GLOBAL_OPTIONS)}' words='{' '.join(COMMANDS)}' ;;
{cases}    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
        return
    fi
    [ -z "$names" ] || _gossipctl_members
    [ -z "$words" ] || COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}

complete -F _gossipctl gossipctl
"""


def _names(options: object) -> str:
    assert isinstance(options, (list, tuple))
    return " ".join(name for option in options for name in option.names)


def _bash_case(command: Command) -> str:
    words = " names=yes" if command.hint == MEMBERS else f" words='{' '.join(actions(command))}'" if actions(
        command) else ""
    files = '            [[ $cur == -* ]] || { COMPREPLY=($(compgen -f -- "$cur")); return; }\n' \
        if command.hint == FILES else ""
    values = _bash_values([option for option in command.options if option.kind != FLAG], " " * 16)
    inner = f"            case $prev in\n{values}            esac\n" if values else ""
    return (f"        {command.name})\n            options='{_names(options_of(command))}'{words}\n{inner}{files}"
            "            ;;\n")


def _bash_values(options: list[Option], indent: str) -> str:
    """What comes behind an option; nothing is offered where anything may stand."""
    lines = []
    for option in options:
        if option.kind == FLAG:
            continue
        if option.hint == MEMBERS:
            does = "_gossipctl_members"
        elif option.hint == FILES:
            does = 'COMPREPLY=($(compgen -f -- "$cur"))'
        elif option.choices:
            does = f"COMPREPLY=($(compgen -W '{' '.join(option.choices)}' -- \"$cur\"))"
        else:
            does = ":"
        lines.append(f"{indent}{'|'.join(option.names)}) {does}; return ;;\n")
    return "".join(lines)


# zsh

def _zsh() -> str:
    described = "".join(f"        {_quoted(f'{name}:{command.summary}')}\n" for name, command in COMMANDS.items())
    cases = "".join(_zsh_case(command) for command in COMMANDS.values())
    return f"""\
#compdef gossipctl
# zsh {MADE} zsh

_gossipctl_members() {{
    local -a names
    names=(${{(f)"$({ASK})"}})
    compadd -a names
}}

_gossipctl() {{
    local curcontext=$curcontext state line
    local -a commands
    commands=(
{described}    )
    _arguments -C \\
        {_zsh_options(list(GLOBAL_OPTIONS))} \\
        '1:command:->command' '*::argument:->argument'
    case $state in
        command) _describe command commands ;;
        argument)
            case $words[1] in
{cases}            esac ;;
    esac
}}

if [ "$funcstack[1]" = _gossipctl ]; then
    _gossipctl "$@"
else
    compdef _gossipctl gossipctl
fi
"""


def _zsh_case(command: Command) -> str:
    specs = _zsh_options(options_of(command))
    if command.hint == MEMBERS:
        specs += " '*:member:_gossipctl_members'"
    elif command.hint == FILES:
        specs += " '*:file:_files'"
    elif actions(command):
        specs += f" '1:action:({' '.join(actions(command))})' '*: :'"
    return f"                {command.name}) _arguments {specs} ;;\n"


def _zsh_options(options: list[Option]) -> str:
    specs = []
    for option in options:
        about = option.help.replace("[", "(").replace("]", ")").replace(":", "\\:")
        many = "*" if option.kind == "list" else ""
        value = "" if option.kind == FLAG else f":{option.metavar.replace(':', ' ')}:{_zsh_values(option)}"
        specs += [_quoted(f"{many}{name}[{about}]{value}") for name in option.names]
    return " ".join(specs)


def _zsh_values(option: Option) -> str:
    if option.hint == MEMBERS:
        return "_gossipctl_members"
    if option.hint == FILES:
        return "_files"
    return f"({' '.join(option.choices)})" if option.choices else " "


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# fish

def _fish() -> str:
    lines = [f"# fish {MADE} fish\n", "complete -c gossipctl -f\n"]
    lines += [_fish_option("", option) for option in GLOBAL_OPTIONS]
    for name, command in COMMANDS.items():
        lines.append(f"complete -c gossipctl -n __fish_use_subcommand -a {name} -d {_fish_text(command.summary)}\n")
        seen = f" -n '__fish_seen_subcommand_from {name}'"
        lines += [_fish_option(seen, option) for option in command.options if option not in GLOBAL_OPTIONS]
        if command.hint == MEMBERS:
            lines.append(f"complete -c gossipctl{seen} -a '({ASK})'\n")
        elif command.hint == FILES:
            lines.append(f"complete -c gossipctl{seen} -F\n")
        elif actions(command):
            lines.append(f"complete -c gossipctl{seen} -a '{' '.join(actions(command))}'\n")
    return "".join(lines)


def _fish_option(condition: str, option: Option) -> str:
    names = "".join(f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}" for name in option.names)
    if option.kind == FLAG:
        value = ""
    elif option.hint == MEMBERS:
        value = f" -xa '({ASK})'"
    elif option.hint == FILES:
        value = " -rF"
    else:
        value = f" -xa '{' '.join(option.choices)}'" if option.choices else " -x"
    return f"complete -c gossipctl{condition}{names}{value} -d {_fish_text(option.help)}\n"


def _fish_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

"""Completion for bash 4.4 and later, without the package bash-completion."""

from __future__ import annotations

from gossipd.ctl.hints import ASK, Hint, header, of_arguments, of_value, options_of, where_options, with_value
from gossipd.ctl.table import FILES, FLAG, MEMBERS, Command, Option

# In the scripts of both programs. Nothing that the user or a stranger wrote is ever evaluated.
COMMON = r'''
# puts into words the words up to the cursor: whole, though bash cuts them at = and :, and without quotes; and into
# head what stands in the last one before the part that readline replaces
_PROGRAM_read() {
    local line=$COMP_LINE piece= raw= i plain
    local -a raws=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        piece=${COMP_WORDS[i]}
        if [[ -n $raw && $line != [[:space:]]* && ($piece == [=:]* || $raw == *[=:]) ]]; then
            head=$raw raw+=$piece
            raws[${#raws[@]}-1]=$raw
        else
            head= raw=$piece
            raws+=("$raw")
        fi
        line=${line#*"$piece"}
    done
    [[ $piece != [=:]* ]] || head=$raw
    for raw in "${raws[@]}"; do
        _PROGRAM_plain "$raw"
        words+=("$plain")
    done
}

# puts $1 without its quotes into plain, and into quote the one that is still open
_PROGRAM_plain() {
    local text=$1 c i
    plain= quote=
    for ((i = 0; i < ${#text}; i++)); do
        c=${text:i:1}
        if [[ $c == "$quote" ]]; then
            quote=
        elif [[ -z $quote && ($c == \' || $c == \") ]]; then
            quote=$c
        elif [[ $c == \\ && $quote != \' ]]; then
            ((++i))
            plain+=${text:i:1}
        else
            plain+=$c
        fi
    done
    [[ $text != '~/'* ]] || plain=$HOME${plain#'~'}
}

# offers those of its arguments that begin as the current word does, quoted as it is
_PROGRAM_offer() {
    local name
    for name; do
        [[ $name == "$cur"* ]] || continue
        if [[ $quote == \' ]]; then
            name=${name//"'"/"'\''"}
        elif [[ $quote == \" ]]; then
            name=${name//'\'/'\\'} name=${name//'"'/'\"'}
            name=${name//'$'/'\$'} name=${name//'`'/'\`'}
        else
            printf -v name %q "$name"
            name=$before$name name=${name#"$head"}
        fi
        COMPREPLY+=("$name")
    done
}
'''

MEMBERS_FUNCTION = f'''
_PROGRAM_members() {{
    local -a names
    mapfile -t names < <(gossipctl "${{where[@]}}" {ASK})
    _PROGRAM_offer "${{names[@]}}"
}}
'''

MAIN = '''
_PROGRAM() {
    local cur before= quote= head= option= command= count=0 i last
    local -a words=() where=() options=()
    COMPREPLY=()
    _PROGRAM_read
    last=$((${#words[@]} - 1)) cur=${words[-1]}
    for ((i = 1; i < last; i++)); do
        case ${words[i]} in
            WITH_VALUE)
                option=${words[i++]}
                ((i == last)) || IS_WHERE
                ;;
WHERE_CASE            -*) ;;
            *) COUNT ;;
        esac
    done
    ((i > last)) || option=
    if [[ -z $option && $cur == --*=* ]]; then
        option=${cur%%=*} before=${cur%%=*}= cur=${cur#*=}
    fi
    case $command in
CASES    esac
    if [[ -z $option && $cur == -* ]]; then
        _PROGRAM_offer "${options[@]}"
    fi
}

complete -F _PROGRAM PROGRAM
'''


def make(program: str, options: list[Option], commands: dict[str, Command]) -> str:
    where = "|".join(where_options()) if commands else ""
    is_where = f'[[ $option != @({where}) ]] || where+=("$option" "${{words[i]}}")' if where else ":"
    where_case = f"            {where.replace('|', '=*|')}=*) where+=(\"${{words[i]}}\") ;;\n" if where else ""
    count = "if [[ -z $command ]]; then command=${words[i]}; else ((++count)); fi" if commands else "((++count))"
    main = MAIN.replace("WITH_VALUE", "|".join(with_value(options, commands))).replace("IS_WHERE", is_where)
    main = main.replace("WHERE_CASE", where_case).replace("COUNT", count)
    first = _case("''", options, [tuple(commands)] if commands else [])
    cases = first + "".join(_case(command.name, options_of(command), of_arguments(command))
                            for command in commands.values())
    text = f"# {header('bash', program)}\n{COMMON}{MEMBERS_FUNCTION if commands else ''}{main.replace('CASES', cases)}"
    return text.replace("PROGRAM", program)


def _case(name: str, options: list[Option], arguments: list[Hint]) -> str:
    """What is offered behind each option, and at each position."""
    known = " ".join(name for option in options for name in option.names)
    behind = [("|".join(option.names), of_value(option)) for option in options if option.kind != FLAG]
    behind += [(str(position), hint) for position, hint in enumerate(arguments)]
    lines = "".join(f"                {where}) {_offer(hint)} ;;\n" for where, hint in behind if hint)
    inner = f"            case ${{option:-$count}} in\n{lines}            esac\n" if lines else ""
    return f"        {name})\n            options=({known})\n{inner}            ;;\n"


def _offer(hint: Hint) -> str:
    if hint == MEMBERS:
        return "_PROGRAM_members"
    if hint == FILES:
        return "compopt -o default"
    return "_PROGRAM_offer " + " ".join(hint)

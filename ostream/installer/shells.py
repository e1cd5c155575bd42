"""ostream --completion SHELL: the function by which a shell asks `ostream --complete`.

Only `ostream` itself is ever asked, and the bare names are completed only where they are links to it: to ask whatever
else is called `send` or `batch` would be to run it.
"""

from __future__ import annotations

_BASH = r"""# bash completion of ostream; in ~/.bashrc: eval "$(ostream --completion bash)"
_ostream() {
    local IFS=$' \t\n' line=${COMP_LINE:0:COMP_POINT} words=() said=() blank word name i
    # bash cuts words at : and =, which model names and options hold.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        blank=${line%%[![:space:]]*}
        line=${line#"$blank"}
        word=${COMP_WORDS[i]}
        ((i < COMP_CWORD)) || word=$line
        line=${line#"$word"}
        if ((i > 0)) && [[ -z $blank ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
    done
    COMPREPLY=()
    if [[ ${#words[@]} -gt 1 && ${words[${#words[@]} - 2]} == *[\<\>] ]]; then
        return # a file, after < or >
    fi
    words=("${words[@]//[\'\"\\]/}")
    name=${words[0]##*/}
    if [[ $name == ostream ]]; then
        words=("${words[@]:1}")
    else
        words=("$name" "${words[@]:1}")
    fi
    # What bash is to replace is $2, the end of the word.
    local cut=$((${#words[${#words[@]} - 1]} - ${#2}))
    ((cut >= 0)) || cut=0
    local files=
    while IFS= read -r line; do
        case $line in
            $'\tfiles'*)
                line=${line#$'\tfiles\t'}
                line=${line:cut}
                if [[ -z $line ]]; then
                    files=1
                else # bash would look for a file, or a host, of that name too
                    while IFS= read -r word; do
                        COMPREPLY+=("$line$(printf %q "$word")")
                    done < <(compgen -f -- "${2:${#line}}")
                fi
                ;;
            $'\tcommands'*) while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -c -- "$2") ;;
            *) word=${line%%$'\t'*} && COMPREPLY+=("${word:cut}") ;;
        esac
    done < <(command ostream --complete "${words[@]}" 2> /dev/null)
    if [[ -n $files ]]; then
        compopt -o default 2> /dev/null
        if [[ ${#COMPREPLY[@]} -gt 0 ]]; then
            while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -f -- "$2")
        fi
    else
        compopt +o default 2> /dev/null
        if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[:=] ]]; then
            compopt -o nospace 2> /dev/null
        fi
    fi
}
complete -o default -F _ostream ostream
for _ostream_name in NAMES; do
    if [[ $(type -P "$_ostream_name") -ef $(type -P ostream) ]]; then
        complete -o default -F _ostream "$_ostream_name"
    fi
done
unset _ostream_name
"""

_ZSH = r"""#compdef ostream
# zsh completion of ostream; in ~/.zshrc, below compinit: eval "$(ostream --completion zsh)"
_ostream() {
    local -a before said all shown open open_shown
    local line word
    before=("${(@Q)words[2,CURRENT-1]}")
    [[ ${words[1]:t} == ostream ]] || before=("${words[1]:t}" "${before[@]}")
    said=("${(@f)$(command ostream --complete "${before[@]}" "${(Q)PREFIX}" 2> /dev/null)}")
    for line in "${said[@]}"; do
        word=${line%%$'\t'*}
        case $line in
            ('') ;;
            ($'\tcommands'*) _command_names -e ;;
            ($'\tfiles'*)
                word=${line#$'\tfiles\t'}
                (( $#word )) && compset -P "${(b)word}"
                _files ;;
            (*[:=]$'\t'*) open+=("$word") open_shown+=("$word  ${line#*$'\t'}") ;;
            (*) all+=("$word") shown+=("$word  ${line#*$'\t'}") ;;
        esac
    done
    (( $#all )) && compadd -l -d shown -a all
    (( $#open )) && compadd -S '' -l -d open_shown -a open
}
if [[ ${funcstack[1]} == _ostream ]]; then
    _ostream "$@"
else
    compdef _ostream ostream
    () {
        local name
        for name in NAMES; do
            [[ -n ${commands[$name]} && ${commands[$name]} -ef ${commands[ostream]} ]] && compdef _ostream $name
        done
        true
    }
fi
"""

_FISH = r"""# fish completion of ostream; in ~/.config/fish/config.fish: ostream --completion fish | source
function __ostream_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l name (string replace -r '.*/' '' -- $words[1])
    set -e words[1]
    test "$name" = ostream; or set -p words $name
    for line in (command ostream --complete $words "$current" 2> /dev/null)
        switch $line
            case \tcommands\*
                __fish_complete_command
            case \tfiles\*
                set -l prefix (string sub -s 8 -- $line)
                set -l rest (string sub -s (math (string length -- "$prefix") + 1) -- "$current")
                for file in (__fish_complete_path "$rest")
                    echo -- "$prefix$file"
                end
            case '*'
                echo -- $line
        end
    end
end
complete -c ostream -f -a '(__ostream_complete)'
for name in NAMES
    if set -l path (command -s $name); and test (realpath $path) = (realpath (command -s ostream))
        complete -c $name -f -a '(__ostream_complete)'
    end
end
"""

SHELLS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def script(shell: str, names: list[str]) -> str:
    """What this shell is to read, with the bare names."""
    return SHELLS[shell].replace("NAMES", " ".join(names))

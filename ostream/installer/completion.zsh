#compdef ostream COMMANDS
# zsh completion of ostream; in ~/.zshrc: eval "$(ostream --completion zsh)"
#
# To complete a word, only `ostream` itself is run. The other commands are completed only if they are links to it,
# because another program may have the same name.
_ostream() {
    local -a before lines all all_shown open open_shown
    local line word program=${commands[${words[1]:t}]}
    [[ $words[1] == */* ]] && program=${(Q)words[1]}
    [[ $program -ef ${commands[ostream]} ]] || { _default; return }
    before=("${(@Q)words[2,CURRENT-1]}")
    [[ ${words[1]:t} == ostream ]] || before=("${words[1]:t}" "${before[@]}")
    lines=("${(@f)$(command ostream --complete "${before[@]}" "${(Q)PREFIX}" 2> /dev/null)}")
    for line in "${lines[@]}"; do
        word=${line%%$'\t'*}
        case $line in
            ('') ;;
            ($'\tcommands'*) _command_names -e ;;
            ($'\tfiles'*)
                word=${line#$'\tfiles\t'}
                (( $#word )) && compset -P "${(b)word}"
                _files ;;
            # The user types more after : or =, so add no space.
            (*[:=]$'\t'*) open+=("$word") open_shown+=("$word  ${line#*$'\t'}") ;;
            (*) all+=("$word") all_shown+=("$word  ${line#*$'\t'}") ;;
        esac
    done
    (( $#all )) && compadd -l -d all_shown -a all
    (( $#open )) && compadd -S '' -l -d open_shown -a open
}
_ostream_register() {
    compdef _ostream ostream
    local name
    for name in COMMANDS; do
        [[ -n ${commands[$name]} && ${commands[$name]} -ef ${commands[ostream]} ]] && compdef _ostream $name
    done
    true
}
if [[ ${funcstack[1]} == _ostream ]]; then
    _ostream "$@" # this file is in a directory of fpath, and compinit has loaded it as a function
elif (( $+functions[compdef] )); then
    _ostream_register
else
    # compinit has not run yet, and perhaps never will. Register at the first prompt, after ~/.zshrc has been read.
    _ostream_precmd() {
        add-zsh-hook -d precmd _ostream_precmd
        unfunction _ostream_precmd
        (( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i -D }
        _ostream_register
    }
    autoload -Uz add-zsh-hook && add-zsh-hook precmd _ostream_precmd
fi

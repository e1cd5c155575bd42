# bash completion of ostream; in ~/.bashrc: eval "$(ostream --completion bash)"
#
# To complete a word, only `ostream` itself is run. The other commands are completed only if they are links to it,
# because another program may have the same name.
_ostream() {
    local IFS=$' \t\n' line=${COMP_LINE:0:COMP_POINT} words=() space word name i
    # bash splits words at : and =, which model names and options contain. Join the parts again.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        space=${line%%[![:space:]]*}
        line=${line#"$space"}
        word=${COMP_WORDS[i]}
        ((i < COMP_CWORD)) || word=$line
        line=${line#"$word"}
        if ((i > 0)) && [[ -z $space ]]; then
            words[${#words[@]} - 1]+=$word
        else
            words+=("$word")
        fi
    done
    COMPREPLY=()
    if [[ ${#words[@]} -gt 1 && ${words[${#words[@]} - 2]} == *[\<\>] ]]; then
        return # the word is the file of a redirection, which bash completes itself
    fi
    words=("${words[@]//[\'\"\\]/}")
    name=${words[0]##*/}
    if [[ $name == ostream ]]; then
        words=("${words[@]:1}")
    else
        words=("$name" "${words[@]:1}")
    fi
    # bash replaces only $2, which may be only the last part of the word. Leave out the part before it.
    local skip=$((${#words[${#words[@]} - 1]} - ${#2}))
    ((skip >= 0)) || skip=0
    local files=
    while IFS= read -r line; do
        case $line in
            $'\tfiles'*)
                line=${line#$'\tfiles\t'}
                line=${line:skip}
                if [[ -z $line ]]; then
                    files=1
                else # a file name after a prefix such as @; bash would complete @ with host names
                    while IFS= read -r word; do
                        COMPREPLY+=("$line$(printf %q "$word")")
                    done < <(compgen -f -- "${2:${#line}}")
                fi
                ;;
            $'\tcommands'*) while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -c -- "$2") ;;
            *) word=${line%%$'\t'*} && COMPREPLY+=("${word:skip}") ;;
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
for _ostream_name in COMMANDS; do
    if [[ $(type -P "$_ostream_name") -ef $(type -P ostream) ]]; then
        complete -o default -F _ostream "$_ostream_name"
    fi
done
unset _ostream_name

# fish completion of ostream; in ~/.config/fish/config.fish: ostream --completion fish | source
#
# To complete a word, only `ostream` itself is run. The other commands are completed only if they are links to it,
# because another program may have the same name.
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
for name in COMMANDS
    if set -l path (command -s $name); and test (realpath $path) = (realpath (command -s ostream))
        complete -c $name -f -a '(__ostream_complete)'
    end
end

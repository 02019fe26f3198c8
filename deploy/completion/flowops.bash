# bash completion for flowops(1). The program itself says what there is.
_flowops() {
    local word=${COMP_WORDS[COMP_CWORD]} program=${COMP_WORDS[0]} words
    if [ "$COMP_CWORD" -eq 1 ]; then
        words=$("$program" help 2>/dev/null | sed -nE 's/^(Usage:| {6}) flowops ([a-z]+) .*/\2/p')
    elif [[ $word == -* ]]; then
        words=$("$program" "${COMP_WORDS[1]}" --help 2>/dev/null | sed -nE 's/^ +(-., |[A-Z_]+, )?(--[a-z][a-z-]*=?).*/\2/p')
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    [[ ${#COMPREPLY[@]} -ne 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace 2>/dev/null
}
complete -o default -F _flowops flowops

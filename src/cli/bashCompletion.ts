/**
 * Our own instead of the completion library's: that one needs the package bash-completion, which a bare Debian does not
 * have, evaluates what was typed (a `$(...)` on the line would run at Tab), and never falls back to file names.
 */
export const bashCompletion = `# bash completion for vipward: source it, or write it to /etc/bash_completion.d/vipward
__vipward_complete() {
    local word line current words=()
    # bash splits --option=value at the "="; vipward is asked as if a blank stood there
    for word in "\${COMP_WORDS[@]:1:COMP_CWORD}"; do
        [[ $word == "=" ]] || words+=("$word")
    done
    [[ \${COMP_WORDS[COMP_CWORD]} == "=" ]] && words+=("")
    current=\${words[-1]}
    COMPREPLY=()
    while IFS= read -r line; do
        line=\${line%%$'\\t'*}
        [[ -n $line && $line != :* && $line == "$current"* ]] && COMPREPLY+=("$line")
    done < <(command vipward complete -- "\${words[@]}" 2>/dev/null)
}
complete -o default -F __vipward_complete vipward
`;

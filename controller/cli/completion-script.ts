/** Seconds; a key press must not hang. */
const LIMIT_S = 2;
const ASK = `timeout ${String(LIMIT_S)} domherd completion words --`;

/** Each asks `domherd completion words`: one word a line, a tab and what it is; `:file` or `:dir` for paths. */
export const SCRIPTS = {
  // Readline breaks words at `@`, `=` and `:` too, and puts only the last piece back: the line is read anew by blanks.
  bash: `# bash completion of domherd: source <(domherd completion bash)
_domherd() {
  local line=\${COMP_LINE:0:COMP_POINT} whole piece=\${COMP_WORDS[COMP_CWORD]} word
  local -a words
  read -ra words <<<"$line"
  case $line in *[[:space:]]) words+=("");; esac
  whole=\${words[\${#words[@]}-1]}
  case $piece in @|=|:) piece="";; esac
  COMPREPLY=()
  while IFS=$'\\t' read -r word _; do
    case $word in
      :file) compopt -o filenames 2>/dev/null; mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$piece") ;;
      :dir) compopt -o filenames 2>/dev/null; mapfile -t -O "\${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$piece") ;;
      *) COMPREPLY+=("\${word#"\${whole%"$piece"}"}") ;;
    esac
  done < <(${ASK} "\${words[@]:1}" 2>/dev/null)
}
complete -F _domherd domherd
`,
  zsh: `#compdef domherd
# zsh completion of domherd: source <(domherd completion zsh), behind compinit
_domherd() {
  local line
  local -a lines found shown
  lines=("\${(@f)$(${ASK} "\${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
  for line in "\${lines[@]}"; do
    case $line in
      '') ;;
      :file) _files ;;
      :dir) _files -/ ;;
      *) found+=("\${line%%$'\\t'*}"); shown+=("\${line/$'\\t'/  -- }") ;;
    esac
  done
  (( $#found )) && compadd -l -d shown -a found
}
if [ "$funcstack[1]" = _domherd ]; then _domherd "$@"; else compdef _domherd domherd; fi
`,
  fish: `# fish completion of domherd: domherd completion fish | source
function __domherd_words
    set -l current (commandline -ct)
    set -l words (commandline -opc) "$current"
    for line in (${ASK} $words[2..] 2>/dev/null)
        switch $line
            case :file
                __fish_complete_path "$current"
            case :dir
                __fish_complete_directories "$current"
            case '*'
                echo $line
        end
    end
end
complete -c domherd -f -a '(__domherd_words)'
`,
} as const;

export type Shell = keyof typeof SCRIPTS;

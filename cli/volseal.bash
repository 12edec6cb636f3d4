# Bash completion for volseal: verbs, options as --help lists them, block devices, files.
# shellcheck shell=bash

_volseal() {
  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verbs=() i
  case $previous in
    --policy | --graph | --controls-file | --since | --evidence | --report | --pseudonymize | --file | --key | --key-file | --new-key-file | --output | --pin-file | --new-pin-file | --blob | --like | --device | --log | --checkpoint | --header)
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
      return
      ;;
    --format)
      local formats="table json csv openmetrics junit icinga oscal html"
      if [[ " ${COMP_WORDS[*]} " == *" audit "* ]]; then formats="jsonl csv"; fi
      mapfile -t COMPREPLY < <(compgen -W "$formats" -- "$word")
      return
      ;;
    --state | --sysroot | --keep | --recovery-key-dir | --recovery-page-dir | --certificate-dir)
      mapfile -t COMPREPLY < <(compgen -d -- "$word")
      return
      ;;
  esac
  # What was typed so far that is no option says which help to ask.
  for ((i = 1; i < COMP_CWORD && ${#verbs[@]} < 2; i++)); do
    if [[ ${COMP_WORDS[i]} =~ ^[a-z]+$ ]]; then verbs+=("${COMP_WORDS[i]}"); fi
  done
  if [[ $previous == lock ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(sed -n 's/^\[group\.\([A-Za-z0-9_-]*\)\].*/\1/p' /etc/volseal/policy.toml 2>/dev/null) default --list" -- "$word")
    return
  fi
  local help
  help=$(volseal "${verbs[@]}" --help 2>/dev/null || volseal "${verbs[@]:0:1}" --help 2>/dev/null)
  if [[ $word == -* ]]; then
    mapfile -t COMPREPLY < <(compgen -W "$(grep -oE -- '(^|[ ,])--?[a-z][a-z-]*' <<<"$help" | tr -d ' ,')" -- "$word")
  elif grep -q '^Subcommands:' <<<"$help"; then
    mapfile -t COMPREPLY < <(compgen -W "$(sed '1,/^Subcommands:/d' <<<"$help" | grep -oE '^  [a-z-]+')" -- "$word")
  else
    mapfile -t COMPREPLY < <(
      compgen -f -- "$word"
      lsblk -lnpo NAME 2>/dev/null | grep -F -- "$word"
    )
  fi
}
complete -o filenames -F _volseal volseal

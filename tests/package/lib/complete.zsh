# SPDX-License-Identifier: BSD-3-Clause
# zsh complete.zsh DIR WORDS...: what an interactive zsh with the completions of DIR offers for the
# last word, a line each. Its compadd is ours, which prints instead of listing.
zmodload zsh/zpty
dir=$1
shift
zpty z "TERM=dumb zsh -f -i"

# What is between two marks is the answer. The line editor shows what we type: no mark is in that.
say() { zpty -w z $1$'\n'; }
say "PROMPT= PS2= RPROMPT=; unsetopt prompt_cr prompt_sp; stty -echo 2>/dev/null"
say "fpath=(${(q)dir} \$fpath); autoload -Uz compinit; compinit -u -D"
say "bindkey '^I' complete-word; zstyle ':completion:*' use-cache no; setopt no_list_ambiguous"
say 'mark() { print -r -- "<<<"">>>"; }; compprefuncs=(mark); comppostfuncs=(mark exit)'
say 'compadd() {
	local -a hits
	local suffix=${@[(i)-S]}
	if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
	builtin compadd -O hits "$@"
	(( $#hits )) && print -rl -- $IPREFIX${^hits}
	builtin compadd "$@"
}'
say 'echo rea''dy'
zpty -r z text '*ready*'
zpty -w -n z "${(j: :)${(@q)@[1,-2]}} ${@[-1]}"$'\t'
zpty -r z text '*<<<>>>*<<<>>>*'
zpty -d z
print -r -- "${${text#*<<<>>>}%%<<<>>>*}" | tr -d '\r' | grep -v '^$' | sort -u

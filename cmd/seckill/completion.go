package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCommand struct {
	Bash  shellCompletion `cmd:"" help:"source <(seckill completion bash)"`
	Zsh   shellCompletion `cmd:"" help:"source <(seckill completion zsh)"`
	Fish  shellCompletion `cmd:"" help:"seckill completion fish | source"`
	Words completionWords `cmd:"" hidden:"" help:"What may come next; for those."`
}

type shellCompletion struct{}

// scripts have a shell ask the program, so that they are right for each version of it.
// What has no words of its own is completed with files.
var scripts = map[string]string{
	"bash": `_seckill() {
	COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
	local IFS=$'\n'
	COMPREPLY=($(compgen -W "$("${COMP_WORDS[0]}" completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _seckill seckill
`,
	"zsh": `autoload -Uz compinit && (( ${+functions[compdef]} )) || compinit
_seckill() {
	local -a found=("${(@f)$("${words[1]}" completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
	[[ -n "$found" ]] && compadd -- $found || _files
}
compdef _seckill seckill
`,
	"fish": `complete -c seckill -a '((commandline -opc)[1] completion words -- (commandline -opc)[2..] (commandline -ct) 2>/dev/null)'
`,
}

// Run prints a shell's script.
func (shellCompletion) Run(k *kong.Context) error {
	return printer{to: os.Stdout}.line("%s", strings.TrimSuffix(scripts[k.Selected().Name], "\n"))
}

type completionWords struct {
	Line []string `arg:"" optional:"" passthrough:""`
}

// Run prints what may be in place of the last word.
func (c *completionWords) Run(k *kong.Context) error {
	line := c.Line
	if len(line) > 0 && line[0] == "--" {
		line = line[1:]
	}
	for _, word := range candidates(k.Model.Node, line) {
		fmt.Fprintln(os.Stdout, word)
	}
	return nil
}

// candidates are the words that may be in place of the last one of a line.
func candidates(at *kong.Node, line []string) (words []string) {
	last := ""
	if len(line) > 0 {
		last = line[len(line)-1]
		for _, word := range line[:len(line)-1] {
			if child := childOf(at, word); child != nil {
				at = child
			}
		}
	}
	add := func(word string) {
		if strings.HasPrefix(word, last) {
			words = append(words, word)
		}
	}
	for _, child := range at.Children {
		if !child.Hidden {
			add(child.Name)
		}
	}
	if !strings.HasPrefix(last, "-") {
		for _, argument := range at.Positional {
			for _, value := range argument.EnumSlice() {
				add(value)
			}
		}
		return words
	}
	for _, group := range at.AllFlags(true) {
		for _, flag := range group {
			for _, word := range flagWords(flag) {
				add(word)
			}
		}
	}
	return words
}

func childOf(at *kong.Node, name string) *kong.Node {
	for _, child := range at.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

// flagWords are the ways to begin, or to write, a flag.
func flagWords(flag *kong.Flag) (words []string) {
	name := "--" + flag.Name
	switch {
	case flag.IsBool():
		return []string{name}
	case flag.Enum == "":
		return []string{name + "="}
	}
	for _, value := range flag.EnumSlice() {
		words = append(words, name+"="+value)
	}
	return words
}

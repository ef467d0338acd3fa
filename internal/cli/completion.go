package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

func completionCommand() command {
	return command{
		name:    "completion",
		summary: "print the script that lets a shell complete fast-export's commands, flags and values",
		usage:   []string{strings.Join(shells, "|")},
		about: "Prints a shell's completion script: it completes commands, flags, the words that a flag takes, files and directories. " +
			"The script asks nothing of the program or of a server while one types, so it is as old as the program that printed it.\n\n" +
			"bash reads it by the line below in ~/.bashrc, or from the file ~/.local/share/bash-completion/completions/fast-export; zsh from a file " +
			"_fast-export in a directory of its fpath; fish from ~/.config/fish/completions/fast-export.fish.",
		example: "source <(fast-export completion bash)",
		new: func(f *flags) runFunc {
			f.takes = []string{strings.Join(shells, "|")}
			return func(_ context.Context, a *app) error {
				shell := f.Arg(0)
				if shell == "" {
					return usagef("fast-export completion bash", "the shell is missing: one of %s", strings.Join(shells, ", "))
				}
				var is string
				if err := (choice{&is, shells}).Set(shell); err != nil {
					wrong := err.(*usageError)
					return usagef(wrong.hint, "shell %s: %s", quoteArg(shell), wrong.msg)
				}
				commands := completable()
				switch is {
				case "bash":
					return a.print(bashCompletion(commands))
				case "zsh":
					return a.print(zshCompletion(commands))
				default:
					return a.print(fishCompletion(commands))
				}
			}
		},
	}
}

var shells = []string{"bash", "zsh", "fish"}

// completed is a command as completion sees it.
type completed struct {
	name, summary string // name "": the export, without a command
	flags         []*pflag.Flag
	operand       offer // what may stand without a flag; all arguments together where there are several
}

// completable returns the export, then the commands.
func completable() []completed {
	var all []completed
	for _, c := range append([]command{exportCommand()}, subcommands()...) {
		f := newFlags(c.name)
		c.new(f)
		f.addHelp(new(bool))
		one := completed{name: c.name, summary: c.summary}
		f.VisitAll(func(fl *pflag.Flag) { one.flags = append(one.flags, fl) })
		for _, form := range f.takes {
			more := offerForm(form)
			one.operand.words = append(one.operand.words, more.words...)
			one.operand.names = max(one.operand.names, more.names)
		}
		all = append(all, one)
	}
	return all
}

// nameKind is a kind of names that a shell knows by itself.
type nameKind uint8

const (
	noNames nameKind = iota
	directories
	files // and directories, which lead to files
)

// offer is what a shell proposes for a value. The zero value proposes nothing.
type offer struct {
	words []string
	names nameKind
}

// codecs are what --compression takes; a level may follow some.
var codecs = []string{"zstd", "snappy", "gzip", "lz4", "none"}

// offerFlag says what to propose for a flag's value.
func offerFlag(fl *pflag.Flag) offer {
	if c, ok := fl.Value.(choice); ok {
		return offer{words: c.among}
	}
	if fl.Value.Type() == "codec" {
		return offer{words: codecs}
	}
	form, _ := cutForm(fl)
	return offerForm(form)
}

// offerForm says what to propose for a value that help shows as form.
func offerForm(form string) offer {
	switch {
	case form == "FILE", form == "OUTPUT", form == "REPO": // a repository may be a file too
		return offer{names: files}
	case form == "DIRECTORY":
		return offer{names: directories}
	case strings.Contains(form, "|"):
		// decimal(p,s) stands for many words, none of which could be meant.
		return offer{words: slices.DeleteFunc(strings.Split(form, "|"), func(w string) bool { return strings.Contains(w, "(") })}
	}
	return offer{}
}

// isSwitch tells whether a flag stands alone.
func isSwitch(fl *pflag.Flag) bool { return fl.NoOptDefVal != "" }

// dashed are the names of flags as one types them.
func dashed(flags []*pflag.Flag) []string {
	var all []string
	for _, fl := range flags {
		if fl.Shorthand != "" {
			all = append(all, "-"+fl.Shorthand)
		}
		all = append(all, "--"+fl.Name)
	}
	return all
}

// bashCompletion writes the script for bash 4 and later. It needs no other file, bash-completion neither. Source: the manual's section
// "Programmable Completion".
func bashCompletion(commands []completed) string {
	var b strings.Builder
	b.WriteString(`# Completion of fast-export for bash, printed by fast-export completion bash

_fast_export() {
	local IFS=$' \t\n'
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} first=1 command= words=
	COMPREPLY=()
	# --flag=value comes as three words.
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD-2]}
	fi
	if [[ $COMP_CWORD -gt 1 && ${COMP_WORDS[1]} == help ]]; then
		first=2
	fi
	if [[ $COMP_CWORD -gt $first && ${COMP_WORDS[first]} != -* ]]; then
		command=${COMP_WORDS[first]}
	fi
	# File names are left to readline, which knows how to quote them: -o makes it look where there are no replies.
	case "$command $prev" in
`)
	for _, c := range commands {
		var bare []string
		for _, fl := range c.flags {
			if isSwitch(fl) {
				continue
			}
			at := fmt.Sprintf("'%s --%s'", c.name, fl.Name)
			if action := bashOffer(offerFlag(fl)); action != "" {
				fmt.Fprintf(&b, "\t%s) %s ;;\n", at, action)
			} else {
				bare = append(bare, at)
			}
		}
		if len(bare) > 0 {
			fmt.Fprintf(&b, "\t%s) return ;;\n", strings.Join(bare, " | "))
		}
	}
	b.WriteString("\t*)\n\t\tcase $command in\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "\t\t'%s')\n\t\t\twords='%s'\n", c.name, strings.Join(dashed(c.flags), " "))
		operand := bashOffer(c.operand)
		if c.name == "" {
			var first []string
			for _, sub := range commands[1:] {
				first = append(first, sub.name)
			}
			fmt.Fprintf(&b, "\t\t\tif [[ $COMP_CWORD -eq $first && $cur != -* ]]; then words='%s'; fi\n", strings.Join(first, " "))
			b.WriteString("\t\t\tif [[ $COMP_CWORD -eq 1 && $cur != -* ]]; then words+=' help'; fi\n")
		} else if operand != "" {
			fmt.Fprintf(&b, "\t\t\tif [[ $cur != -* ]]; then %s; fi\n", operand)
		}
		b.WriteString("\t\t\t;;\n")
	}
	b.WriteString(`		esac
		;;
	esac
	COMPREPLY=($(compgen -W "$words" -- "$cur"))
}

complete -F _fast_export fast-export
`)
	return b.String()
}

// bashOffer are the commands that propose, "" for none.
func bashOffer(o offer) string {
	switch {
	case o.names == files:
		return "compopt -o default; return"
	case o.names == directories:
		return "compopt -o dirnames; return"
	case len(o.words) > 0:
		return "words='" + strings.Join(o.words, " ") + "'"
	}
	return ""
}

// zshCompletion writes the script for zsh, to be found in fpath or to be sourced after compinit. Source: zshcompsys(1), _arguments.
func zshCompletion(commands []completed) string {
	var b strings.Builder
	b.WriteString(`#compdef fast-export
# Completion of fast-export for zsh, printed by fast-export completion zsh

_fast-export() {
  local first=2 command=
  local -a commands
  if [[ $CURRENT -gt 2 && $words[2] == help ]]; then
    first=3
  fi
  if [[ $CURRENT -eq $first && $PREFIX != -* ]]; then
    commands=(
`)
	for _, c := range commands[1:] {
		fmt.Fprintf(&b, "      %s\n", shellQuote(c.name+":"+c.summary))
	}
	b.WriteString(`    )
    if [[ $first -eq 2 ]]; then
      commands+=('help:tell more of a command')
    fi
    _describe command commands
    return
  fi
  if [[ $CURRENT -gt $first && $words[$first] != -* ]]; then
    command=$words[$first]
    shift $((first - 1)) words
    ((CURRENT -= first - 1))
  fi
  case $command in
`)
	for _, c := range commands {
		fmt.Fprintf(&b, "    '%s')\n      _arguments", c.name)
		for _, fl := range c.flags {
			for _, spec := range zshSpecs(fl) {
				b.WriteString(" \\\n        " + shellQuote(spec))
			}
		}
		if action := zshOffer(c.operand); action != "" {
			b.WriteString(" \\\n        " + shellQuote("*:argument:"+action))
		}
		b.WriteString("\n      ;;\n")
	}
	b.WriteString(`  esac
}

if [[ $funcstack[1] == _fast-export ]]; then
  _fast-export "$@"
else
  compdef _fast-export fast-export
fi
`)
	return b.String()
}

// zshSpecs are a flag as _arguments wants it: one for each of its names.
func zshSpecs(fl *pflag.Flag) []string {
	form, text := cutForm(fl)
	tail := "[" + strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`).Replace(text) + "]"
	if !isSwitch(fl) {
		o := offerFlag(fl)
		if len(o.words) > 0 {
			form = "value" // the words are shown anyhow
		}
		tail = "=" + tail + ":" + strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(form) + ":" + zshOffer(o)
	}
	if _, again := fl.Value.(list); again {
		return []string{"*--" + fl.Name + tail}
	}
	if fl.Shorthand == "" {
		return []string{"--" + fl.Name + tail}
	}
	both := fmt.Sprintf("(-%s --%s)", fl.Shorthand, fl.Name)
	return []string{both + "-" + fl.Shorthand + tail, both + "--" + fl.Name + tail}
}

func zshOffer(o offer) string {
	switch {
	case o.names == files:
		return "_files"
	case o.names == directories:
		return "_files -/"
	case len(o.words) > 0:
		return "(" + strings.Join(o.words, " ") + ")"
	}
	return ""
}

// shellQuote makes one word of s for a shell of sh's kind.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// fishCompletion writes the script for fish 3 and later. Source: fish's manual, complete(1).
func fishCompletion(commands []completed) string {
	var b strings.Builder
	b.WriteString(`# Completion of fast-export for fish, printed by fast-export completion fish

# True if the words so far choose this command; '' stands for none.
function __fast_export_is
    set -l typed (commandline -opc)
    set -e typed[1]
    if test "$typed[1]" = help
        set -e typed[1]
    end
    if string match -q -- '-*' "$typed[1]"
        set typed
    end
    test "$typed[1]" = "$argv[1]"
end

# True where a command may stand.
function __fast_export_first
    set -l typed (commandline -opc)
    test (count $typed) -eq 1; or test (count $typed) -eq 2 -a "$typed[2]" = help
end

complete -c fast-export -e
complete -c fast-export -f
`)
	for _, c := range commands[1:] {
		fmt.Fprintf(&b, "complete -c fast-export -n __fast_export_first -a %s -d %s\n", c.name, fishQuote(c.summary))
	}
	b.WriteString("complete -c fast-export -n 'test (count (commandline -opc)) -eq 1' -a help -d 'tell more of a command'\n")
	for _, c := range commands {
		lead := "complete -c fast-export -n " + fishQuote("__fast_export_is '"+c.name+"'")
		for _, fl := range c.flags {
			line := lead
			if fl.Shorthand != "" {
				line += " -s " + fl.Shorthand
			}
			line += " -l " + fl.Name
			_, text := cutForm(fl)
			if !isSwitch(fl) {
				line += fishOffer(offerFlag(fl), " -x")
			}
			b.WriteString(line + " -d " + fishQuote(text) + "\n")
		}
		if o := fishOffer(c.operand, ""); o != "" {
			b.WriteString(lead + o + "\n")
		}
	}
	return b.String()
}

// fishOffer are the options of complete that propose. only says that a value is needed which is no file.
func fishOffer(o offer, only string) string {
	switch {
	case o.names == files && only != "":
		return " -r -F"
	case o.names == files:
		return " -F"
	case o.names == directories:
		return only + " -a '(__fish_complete_directories)'"
	case len(o.words) > 0:
		return only + " -a " + fishQuote(strings.Join(o.words, " "))
	}
	return only
}

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}

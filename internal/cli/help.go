package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// helpText is what --help prints.
func helpText(c command, f *flags) string {
	var b strings.Builder
	name := "fast-export"
	if c.name != "" {
		name += " " + c.name
	}
	for i, u := range c.usage {
		lead := "usage: "
		if i > 0 {
			lead = "       "
		}
		b.WriteString(lead + strings.TrimRight(name+" "+u, " ") + "\n")
	}
	b.WriteString("\n" + wrap(c.about, "", 100))
	if c.name == "" {
		b.WriteString("\nCommands:\n")
		for _, s := range subcommands() {
			fmt.Fprintf(&b, "  %-12s %s\n", s.name, s.summary)
		}
		b.WriteString("  fast-export COMMAND --help tells more.\n")
	}
	for _, g := range f.grouped() {
		if len(g.flags) == 0 {
			continue
		}
		b.WriteString("\n" + g.title + ":\n")
		for _, fl := range g.flags {
			b.WriteString(flagHelp(fl))
		}
	}
	b.WriteString("\nExit codes:\n")
	for _, c := range exitCodes {
		b.WriteString(wrapHanging(fmt.Sprintf("  %4d  ", c.code), c.meaning, 100))
	}
	b.WriteString("\nExample:\n")
	for line := range strings.Lines(c.example) {
		b.WriteString("  " + line)
	}
	return b.String() + "\n"
}

// aliased gives a command's help by the name by which it was called, "" for its own.
func aliased(help string, c command, alias string) string {
	if alias == "" || c.name == "" {
		return help
	}
	return strings.ReplaceAll(help, "fast-export "+c.name+" ", alias+" ")
}

// flagForm is a flag as one types it, with its value's name.
func flagForm(fl *pflag.Flag) string {
	s := "--" + fl.Name
	if fl.Shorthand != "" {
		s = "-" + fl.Shorthand + ", " + s
	}
	if form, _ := cutForm(fl); form != "" {
		s += " " + form
	}
	return s
}

// cutForm splits a flag's usage, "`FORM` text", or the text alone for a switch.
func cutForm(fl *pflag.Flag) (form, text string) {
	if rest, ok := strings.CutPrefix(fl.Usage, "`"); ok {
		form, text, _ = strings.Cut(rest, "` ")
		return form, text
	}
	return "", fl.Usage
}

// flagText is what a flag means, with its default.
func flagText(fl *pflag.Flag) string {
	_, text := cutForm(fl)
	if def := fl.DefValue; def != "" && fl.Value.Type() != "bool" {
		text += " (default " + def + ")"
	}
	return text
}

// flagColumn is where the explanations of flags begin.
const flagColumn = 30

func flagHelp(fl *pflag.Flag) string {
	form := "  " + flagForm(fl)
	if fl.Shorthand == "" {
		form = "  " + form
	}
	lead := fmt.Sprintf("%-*s", flagColumn, form)
	if len(form) >= flagColumn {
		return form + "\n" + wrapHanging(strings.Repeat(" ", flagColumn), flagText(fl), 110)
	}
	return wrapHanging(lead, flagText(fl), 110)
}

// wrapHanging breaks text into lines of at most width columns behind lead, and behind as many blanks below it.
func wrapHanging(lead, text string, width int) string {
	indent := strings.Repeat(" ", len(lead))
	return lead + strings.TrimPrefix(wrap(text, indent, width), indent)
}

// wrap breaks paragraphs into lines of at most width columns, each behind indent. Lines that are empty stay.
func wrap(text, indent string, width int) string {
	var b strings.Builder
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			b.WriteString("\n")
		}
		line := indent
		for _, w := range strings.Fields(paragraph) {
			if len(line) > len(indent) && len(line)+1+len(w) > width {
				b.WriteString(line + "\n")
				line = indent
			}
			if len(line) > len(indent) {
				line += " "
			}
			line += w
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

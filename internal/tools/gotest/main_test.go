package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, events string
		ok           bool
		want, not    []string
	}{
		{
			"green", `
{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":1.5}
{"Action":"pass","Package":"p","Elapsed":2}`, true,
			[]string{"ok       p 2.0s", "1.5 s  p TestA", "1 passed, 0 failed, 0 skipped"},
			[]string{"chatter"},
		},
		{
			"red", `
{"Action":"output","Package":"p","Test":"TestA","Output":"fine\n"}
{"Action":"output","Package":"p","Test":"TestB/x","Output":"    b_test.go:1: wrong\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0}
{"Action":"fail","Package":"p","Test":"TestB/x","Elapsed":0}
{"Action":"fail","Package":"p","Test":"TestB","Elapsed":0}
{"Action":"fail","Package":"p","Elapsed":2}`, false,
			[]string{"p TestB/x\n    b_test.go:1: wrong", "FAIL     p 2.0s", "1 passed, 2 failed, 0 skipped"},
			[]string{"fine", "outside of their tests"},
		},
		{
			"skipped", `
{"Action":"skip","Package":"p","Test":"TestA","Elapsed":0}
{"Action":"pass","Package":"p","Elapsed":2}`, false,
			[]string{"--- SKIP: p TestA", "0 passed, 0 failed, 1 skipped"},
			nil,
		},
		{
			"panic", `
{"Action":"output","Package":"p","Test":"TestA","Output":"panic: boom\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p","Elapsed":0.1}`, false,
			[]string{"panic: boom", "1 packages failed outside of their tests", "0 passed, 1 failed"},
			[]string{"FAIL\tp"},
		},
		{
			"does not build", `
{"ImportPath":"p","Action":"build-output","Output":"p/p.go:1: syntax error\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"fail","Package":"p","Elapsed":0,"FailedBuild":"p"}`, false,
			[]string{"p/p.go:1: syntax error", "FAIL     p", "0 passed, 1 failed"},
			nil,
		},
		{
			"no tests", `
{"Action":"skip","Package":"p","Elapsed":0}
not json`, true,
			[]string{"no tests p", "not json"},
			nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			r := newReport(&out)
			if err := r.read(strings.NewReader(strings.TrimPrefix(c.events, "\n"))); err != nil {
				t.Fatal(err)
			}
			if ok := r.close(); ok != c.ok {
				t.Errorf("good: %v, want %v", ok, c.ok)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("lacks %q:\n%s", want, out.String())
				}
			}
			for _, not := range c.not {
				if strings.Contains(out.String(), not) {
					t.Errorf("holds %q:\n%s", not, out.String())
				}
			}
		})
	}
}

package chunker

import (
	"fmt"
	"strings"
	"testing"

	"fast-export/internal/pgtest"
)

func TestLex(t *testing.T) {
	t.Parallel()
	kinds := map[tokenKind]string{tokWord: "w", tokQuoted: "q", tokString: "s", tokNumber: "n", tokParam: "p", tokOp: "o", tokPunct: ",", tokChunk: "c", tokOther: "?"}
	for sql, want := range map[string]string{
		`SELECT Ab_1$ FROM Ünder`:                                             `w:select w:ab_1$ w:from w:Ünder`,
		`"Ab""c" U&"d\0061t" U&"d!0061t" UESCAPE '!'`:                         `q:Ab"c q:dat q:dat`,
		`'a''b' E'\'\n\x41\101\u0041\\' B'01' x'ff' N'n' U&'\0041\+000042\\'`: "s:a'b s:'\nAAA\\ s:01 s:ff s:n s:AB\\",
		"'a'\n'b' 'c' 'd' 'e' -- x\n'f' 'g' /* \n */ 'h'":                     `s:ab s:c s:d s:ef s:g s:h`,
		`$$a$b$$ $x$ $$ $y$ $x$ $1 $a a$b$c`:                                  `s:a$b s: $$ $y$  p:$1 ?:$ w:a w:a$b$c`,
		"-- a\n/* b /* c */ d */ 1 -- e":                                      `n:1`,
		`1 1.5 .5 1. 1e5 1e-5 1e 1..2 0x1F 1_000 123abc`:                      `n:1 n:1.5 n:.5 n:1. n:1e5 n:1e-5 n:1 w:e n:1 ,:.. n:2 n:0x1F n:1_000 n:123 w:abc`,
		`a+b a+-b @-5 a<=-1 ->> #>> != <> => := :: : ~~* +-- c`:               `w:a o:+ w:b w:a o:+ o:- w:b o:@- n:5 w:a o:<= o:- n:1 o:->> o:#>> o:<> o:<> ,:=> ,::= ,::: ,:: o:~~* o:+`,
		`a*/* x */b`: `w:a o:* w:b`,
		`(a,b)[1];`:  `,:( w:a ,:, w:b ,:) ,:[ n:1 ,:] ,:;`,
		`{chunk} {chunk:a} {chunk:"A b"} {chunk:A}`: `c: c:a c:A b c:a`,
		`{chunk {x} {chunk:} {chunk:1} {chunks}`:    `?:{ w:chunk ?:{ w:x ?:} ?:{ w:chunk ,:: ?:} ?:{ w:chunk ,:: n:1 ?:} ?:{ w:chunks ?:}`,
		`e 'x' u&'x' E 'y' b`:                       `w:e s:x s:x w:e s:y w:b`,
		strings.Repeat("x", 70):                     "w:" + strings.Repeat("x", 63),
		`"` + strings.Repeat("é", 40) + `"`:         "q:" + strings.Repeat("é", 31),
		"a\vb\fc":                                   `w:a w:b w:c`,
		`a\b`:                                       `w:a ?:\ w:b`,
	} {
		tokens, err := lex(sql)
		if err != nil {
			t.Errorf("%q: %v", sql, err)
			continue
		}
		var got []string
		for _, k := range tokens {
			got = append(got, kinds[k.kind]+":"+k.val)
		}
		if g := strings.Join(got, " "); g != want {
			t.Errorf("%q:\n got %q\nwant %q", sql, g, want)
		}
	}
}

// TestLexAsServer compares identifiers and strings with what the server reads
// in them.
func TestLexAsServer(t *testing.T) {
	t.Parallel()
	pgtest.EachMajor(t, func(t *testing.T, srv *pgtest.Server) {
		conn := pgtest.Connect(t, srv.Database(t))
		for _, s := range []string{
			`'a''b'`, `E'\b\f\n\r\t\\\'\"\q'`, `E'\1\12\123\1234\7'`, `E'\x4\x41\x414\xg'`, `E'\u00e9\U0001F600\u0041b'`,
			`U&'\0041\00e9\+01F600\\'`, `U&'!0041!!' UESCAPE '!'`, "'a'\n'b'", "'a' -- c\n 'b'\t\n\t'c'", "E'\\n'\n'\\t'", `$$a\'b$$`, `$é1$ $$ $é1$`,
			`U&'a' -- x
				UESCAPE '#'`, `'\n'`, `$a$ $b$ $a $a$`, `E'a\
b'`,
		} {
			tokens, err := lex(s)
			if err != nil || len(tokens) != 1 || tokens[0].kind != tokString {
				t.Errorf("%s: %v, %v", s, tokens, err)
				continue
			}
			if want := queryText(t, conn, "SELECT "+s); tokens[0].val != want {
				t.Errorf("%s is %q, the server reads %q", s, tokens[0].val, want)
			}
		}
		for _, s := range []string{
			`Ab`, `"Ab"`, `"a""b"`, `ÄÖé`, `_x$1`, strings.Repeat("y", 70), `U&"d\0061t\+000061"`, `U&"d!0061" UESCAPE '!'`, `"` + strings.Repeat("é", 40) + `"`,
			strings.Repeat("aé", 22), `"` + "tab\t" + `"`,
		} {
			tokens, err := lex(s)
			if err != nil || len(tokens) != 1 || !tokens[0].name() {
				t.Errorf("%s: %v, %v", s, tokens, err)
				continue
			}
			rows, err := conn.Query(t.Context(), "SELECT 1 AS "+s)
			if err != nil {
				t.Fatal(err)
			}
			rows.Close()
			if want := rows.FieldDescriptions()[0].Name; tokens[0].val != want {
				t.Errorf("%s is %q, the server reads %q", s, tokens[0].val, want)
			}
		}
	})
}

// lexes checks what must hold of any text's tokens: they stand in order, what
// is between them is white space and comments, and a token alone is itself.
func lexes(t *testing.T, sql string) []token {
	t.Helper()
	tokens, err := lex(sql)
	if err != nil {
		if e, ok := err.(*lexError); !ok || e.pos < 0 || e.pos > len(sql) {
			t.Fatalf("%q: error %#v", sql, err)
		}
		return nil
	}
	end := 0
	for i, k := range tokens {
		if k.pos < end || k.end <= k.pos || k.end > len(sql) {
			t.Fatalf("%q: token %d is [%d,%d), the one before ends at %d", sql, i, k.pos, k.end, end)
		}
		if k.glued != (i > 0 && k.pos == end) {
			t.Fatalf("%q: token %d: glued is %t", sql, i, k.glued)
		}
		if between, err := lex(sql[end:k.pos]); err != nil || len(between) > 0 {
			t.Fatalf("%q: between tokens is %q", sql, sql[end:k.pos])
		}
		// A number or operator may go on differently without its neighbour.
		if alone, err := lex(sql[k.pos:k.end]); k.kind != tokNumber && k.kind != tokOp && k.kind != tokOther && k.kind != tokPunct {
			if err != nil || len(alone) != 1 || alone[0].val != k.val || alone[0].kind != k.kind {
				t.Fatalf("%q: token %d alone, %q, is %v, %v", sql, i, sql[k.pos:k.end], alone, err)
			}
		}
		end = k.end
	}
	return tokens
}

func FuzzLex(f *testing.F) {
	for _, sql := range seeds() {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		tokens := lexes(t, sql)
		// With blanks in the place of comments the tokens are the same.
		var b strings.Builder
		for i, k := range tokens {
			if i > 0 && !k.glued {
				b.WriteString("  ")
			}
			b.WriteString(sql[k.pos:k.end])
		}
		again, err := lex(b.String())
		if len(tokens) > 0 && (err != nil || len(again) != len(tokens)) {
			t.Fatalf("%q: %d tokens, %q: %d tokens, %v", sql, len(tokens), b.String(), len(again), err)
		}
		for i := range again {
			if again[i].val != tokens[i].val || again[i].kind != tokens[i].kind {
				t.Fatalf("%q: token %d is %v and %v", sql, i, tokens[i], again[i])
			}
		}
	})
}

// FuzzRecognise feeds any text to the recogniser: it never panics, and what
// it takes for a plain scan is one: put together from its parts it says the
// same, and none of the words that end a plain scan stands in it where it
// would count.
func FuzzRecognise(f *testing.F) {
	for _, sql := range seeds() {
		f.Add(sql)
	}
	columns := columnTypes{"id": 23, "obstime": oidTimestamp, "ctid": 27, "Dec": 701}
	f.Fuzz(func(t *testing.T, sql string) {
		s, err := parseStatement(sql)
		if err != nil {
			if e, ok := err.(*StatementError); !ok || e.Reason == "" {
				t.Fatalf("%q: %#v", sql, err)
			}
			return
		}
		lexes(t, s.text)
		if s.chunk >= 0 {
			_, _ = (&Target{stmt: s, req: Request{SQL: sql}}).place()
			inspect(newUsage(), s.tokens, "", columns, inStatement)
			if n := s.neutral(); len([]rune(n)) != len([]rune(s.text)) {
				t.Fatalf("%q: neutral %q has another length", sql, n)
			}
		}
		sc, why := recognise(s)
		if (sc == nil) == (why == "") {
			t.Fatalf("%q: scan %v, why %q", sql, sc, why)
		}
		if sc == nil {
			return
		}
		alias := sc.alias
		if alias == "" {
			alias = sc.name.parts[len(sc.name.parts)-1]
		}
		u := newUsage()
		var list []string
		for _, it := range sc.items {
			if it.from >= it.to {
				t.Fatalf("%q: an empty item", sql)
			}
			list = append(list, sc.text(it.from, it.to))
			if !it.star {
				inspect(u, s.tokens[it.from:it.to], alias, columns, inListItem)
			}
		}
		inspect(u, s.tokens[sc.whereFrom:], alias, columns, inCondition)
		again := selectFrom([]string{strings.Join(list, ", ")}, sc.only, RelationRef{Schema: "s", Name: "t"}, alias, tidPredicate(alias, 1, 2), sc.where())
		rs, err := parseStatement(again)
		if err != nil {
			t.Fatalf("%q became %q: %v", sql, again, err)
		}
		rsc, why := recognise(rs)
		if rsc == nil {
			t.Fatalf("%q became %q, which is none: %s", sql, again, why)
		}
		if len(rsc.items) != len(sc.items) || rsc.alias != alias {
			t.Fatalf("%q became %q", sql, again)
		}
		for i, it := range rsc.items {
			if got := rsc.text(it.from, it.to); got != list[i] {
				t.Fatalf("%q: item %d is %q, was %q", sql, i, got, list[i])
			}
		}
		if u.why == "" {
			for i, k := range s.tokens {
				if k.kind == tokWord && (k.val == "select" || k.val == "union" || k.val == "with") && i > 0 {
					prev := s.tokens[i-1]
					if !prev.is("as") && !prev.is(".") && !(i+1 < len(s.tokens) && (s.tokens[i+1].is(".") || s.tokens[i+1].is("time"))) {
						t.Fatalf("%q: %s passes", sql, k.val)
					}
				}
			}
		}
	})
}

func seeds() []string {
	var out []string
	out = append(out, split...)
	out = append(out, placed...)
	for _, c := range unsplit {
		out = append(out, c.sql)
	}
	for _, c := range misplaced {
		out = append(out, c.sql)
	}
	for i, p := range append(append([]string(nil), pieces...), spoilers...) {
		out = append(out, fmt.Sprintf("SELECT %s FROM t WHERE %d", p, i))
	}
	return out
}

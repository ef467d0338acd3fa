package typemap

import (
	"strings"
	"testing"
)

// Each level of quotes doubles those within: a value of some hundred bytes must not become a text of gigabytes for a
// message that shows eighty.
func TestShownTextIsBounded(t *testing.T) {
	text := []byte(`x"y`)
	for range 40 {
		text = append(appendItem([]byte("("), text, "(),"), ')')
		if len(text) > 3*maxText {
			t.Fatalf("%d bytes", len(text))
		}
	}
	if s := excerpt(text, true); len(s) > 300 || !strings.HasSuffix(s, "…") {
		t.Errorf("shown as %s", s)
	}
}

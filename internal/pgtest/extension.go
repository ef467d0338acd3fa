package pgtest

import (
	"os"
	"testing"
	"time"
)

// Extension creates an extension in the database and says whether the server has it. It is for those that come with no source of
// servers but the system's packages, like postgis: in CI, which installs them, a missing one fails the test.
func Extension(t testing.TB, dsn, name string) bool {
	t.Helper()
	if Query(t, dsn, "SELECT count(*) FROM pg_available_extensions WHERE name = '"+name+"'") == "0" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the server lacks the extension %s, and CI installs it", name)
		}
		return false
	}
	Exec(t, dsn, `CREATE EXTENSION "`+name+`"`)
	return true
}

// SoakTime is how long a test named TestSoak… goes on: usual, a second or so, in every run, and what `make soak` says (FAST_EXPORT_SOAK, such
// as "10m") in a soak.
func SoakTime(t testing.TB, usual time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("FAST_EXPORT_SOAK")
	if text == "" {
		return usual
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("FAST_EXPORT_SOAK: %v", err)
	}
	return d
}

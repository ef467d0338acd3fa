package bench

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"fast-export/internal/pgtest"
)

// peers/peers.py keeps what a DSN says, ends a way's processes when one of them fails, gathers batches to whole row groups, sees files that
// are not as asked, and leaves no directory. The ways themselves need other people's programs.
func TestPeers(t *testing.T) {
	temp := t.TempDir()
	pgtest.NoLeftovers(t, temp)
	python := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), pgtest.Python(t), args...)
		cmd.Dir, cmd.Env = "peers", append(os.Environ(), "TMPDIR="+temp, "PYTHONDONTWRITEBYTECODE=1")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	start := time.Now()
	out, err := python("-c", fmt.Sprintf(`
import subprocess, os, peers
import pyarrow as pa, pyarrow.parquet as pq
print(peers.url("host=/run/pg port=5 user=u password='a b\\'@/' dbname=d"))
print(peers.url("host=/run/pg port=5 user=u password=p dbname=d", "%%2F"))
print(peers.url("host=h user=u password=p dbname=d sslmode=disable"))
try:
    peers.measure(lambda: [subprocess.Popen(["sleep", "60"]), subprocess.Popen(["false"])], None)
except peers.Failed as e:
    print(e)
print("%%.1f" %% peers.measure(lambda: [subprocess.Popen(["true"]), subprocess.Popen(["sleep", "0.2"])], None)[0])
peers.ROW_GROUP = 1000
schema = pa.schema([("x", pa.int32())])
batches = [pa.record_batch([pa.array(range(n), pa.int32())], schema) for n in (1, 700, 700, 2500)]
path = os.path.join(%q, "f")
for codec, groups in (("zstd", None), ("zstd", 300), ("snappy", None)):
    with pq.ParquetWriter(path, schema, compression=codec) as w:
        if groups:
            w.write_table(pa.Table.from_batches(batches), row_group_size=groups)
        else:
            peers.write_batches(w, batches)
    got = peers.written(path)
    print(got["codec"], got["rows"], got["groups"], got["largest"], got["as asked"])
os.remove(path)
`, temp))
	want := `postgresql://u:a%20b%27%40%2F@/d?host=%2Frun%2Fpg&port=5
postgresql://u:p@%2Frun%2Fpg:5/d
postgresql://u:p@h:5432/d?sslmode=disable
false ended with 1
0.2
ZSTD 3901 4 1000 True
ZSTD 3901 14 300 False
SNAPPY 3901 4 1000 False
`
	if err != nil || out != want || time.Since(start) > 30*time.Second {
		t.Errorf("%v: got\n%swant\n%s", err, out, want)
	}
	for _, args := range [][]string{{"--table", "t", "--only", "nosuch"}, {"--table", "nosuch"}} {
		out, err := python(append([]string{"peers.py", "--dsn", "host=" + temp + " dbname=d"}, args...)...)
		if err == nil || strings.Contains(out, "Traceback") {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
}

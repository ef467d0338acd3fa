package typemap

import (
	"syscall"
	"testing"
	"time"

	"fast-export/internal/column"
)

// BenchmarkDecode decodes recorded COPY bytes of the two tables that the project measures itself by, one row a Write as
// pgconn hands them over.
func BenchmarkDecode(b *testing.B) {
	for _, table := range []string{"obs_sbn", "dia_source"} {
		for _, tr := range []Transport{CSV, Binary} {
			b.Run(table+"/"+tr.String(), func(b *testing.B) {
				r := readRecorded(b, table)
				p := r.plan(b, tr)
				batch := column.NewBatch(len(p.Leaves), len(p.nodes), nil)
				d := p.NewDecoder(DecoderOptions{Next: func(full *column.Batch) (*column.Batch, error) {
					if full != nil {
						full.Reset(nil)
					}
					return batch, nil
				}})
				head, rows := split(b, p, r.data[tr])
				if _, err := d.Write(head); err != nil {
					b.Fatal(err)
				}
				n := 0
				before := cpuTime(b)
				for b.Loop() {
					if _, err := d.Write(rows[n%len(rows)]); err != nil {
						b.Fatal(err)
					}
					n++
				}
				size := 0
				for _, row := range rows {
					size += len(row)
				}
				b.SetBytes(int64(size / len(rows)))
				b.ReportMetric(float64(cpuTime(b)-before)/float64(n), "cpu-ns/row")
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
			})
		}
	}
}

// cpuTime is what the process has used of the processors: on a busy machine it says more than the clock.
func cpuTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// split cuts a stream into what comes before the rows and the rows.
func split(t testing.TB, p *Plan, data []byte) (head []byte, rows [][]byte) {
	t.Helper()
	if p.Transport == CSV {
		for at, i := 0, 0; i < len(data); i++ { // no recorded value has a line feed
			if data[i] == '\n' {
				rows = append(rows, data[at:i+1])
				at = i + 1
			}
		}
		return nil, rows
	}
	head, data = data[:19], data[19:]
	for be.Uint16(data) != 0xFFFF {
		at := 2
		for range len(p.nodes) {
			n := int(int32(be.Uint32(data[at:])))
			at += 4 + max(n, 0)
		}
		rows = append(rows, data[:at])
		data = data[at:]
	}
	return head, rows
}

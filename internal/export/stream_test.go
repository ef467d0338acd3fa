package export

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fast-export/chunker"
	"fast-export/internal/pgtest"
)

// lossy passes a server's answers on, save the CopyData message number drop (from 0) of each connection. It returns the port.
func lossy(t *testing.T, socket string, drop int) uint16 {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", socket)
			if err != nil {
				client.Close()
				return
			}
			go func() {
				defer server.Close()
				_, _ = io.Copy(server, client) // until the client closes
			}()
			go func() {
				defer client.Close()
				for n := 0; ; {
					head := make([]byte, 5)
					if _, err := io.ReadFull(server, head); err != nil {
						return
					}
					body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
					if _, err := io.ReadFull(server, body); err != nil {
						return
					}
					if head[0] == 'd' {
						if n++; n == drop+1 {
							continue
						}
					}
					if _, err := client.Write(append(head, body...)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// A row that is lost on its way, between two others, is missed: each COPY says how many it sent.
func TestLostRowIsMissed(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE t AS SELECT k AS i FROM generate_series(1, 100) k")
	for _, transport := range []Transport{CSV, Binary} {
		cfg := config(t, dsn, Job{Table: "t", Out: filepath.Join(outDir(t), "o.parquet")})
		cfg.Conn.Port = lossy(t, filepath.Join(cfg.Conn.Host, fmt.Sprintf(".s.PGSQL.%d", cfg.Conn.Port)), 40)
		cfg.Conn.Host, cfg.Conn.TLSConfig, cfg.Conn.Fallbacks = "127.0.0.1", nil, nil
		cfg.Transport = transport
		if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "it sent 100 rows, and 99 arrived") {
			t.Errorf("%v: got %v", transport, err)
		}
	}
}

// What no lock pins can change between plan and COPY: then a value of another type must not be read as one of the old.
func TestTypeChangedMeanwhile(t *testing.T) {
	dsn := pgtest.Database(t)
	pgtest.Exec(t, dsn, "CREATE FUNCTION f(bigint) RETURNS float8 LANGUAGE sql AS 'SELECT 5.0::float8'", "CREATE VIEW first AS SELECT pg_sleep(1.5)::text AS z")
	dir := outDir(t, "first.parquet")
	cfg := config(t, dsn, Job{Table: "first", Out: filepath.Join(dir, "first.parquet")})
	cfg.Jobs = append(cfg.Jobs, Job{SQL: "SELECT f(1) AS a", Out: filepath.Join(dir, "f.parquet"), RowGroupRows: 1000, Compression: cfg.Jobs[0].Compression})
	cfg.Parallel, cfg.Transport = 1, Binary
	conn := pgtest.Connect(t, dsn)
	changed := make(chan error, 1)
	go func() {
		changed <- func() error {
			for copies := 0; copies == 0; time.Sleep(10 * time.Millisecond) {
				if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%first%' AND state = 'active'`).Scan(&copies); err != nil {
					return err
				}
			}
			_, err := conn.Exec(t.Context(), "CREATE FUNCTION f(int) RETURNS timestamp LANGUAGE sql AS $$SELECT timestamp '2000-01-06'$$")
			return err
		}()
	}()
	res, err := Run(t.Context(), cfg)
	if err := <-changed; err != nil {
		t.Fatal(err)
	}
	var partial *PartialError
	if !errors.As(err, &partial) || partial.Failed != 1 {
		t.Fatal(err)
	}
	var now *chunker.ChangedError
	if !errors.As(res.Files[1].Err, &now) || !strings.Contains(now.Error(), "column a is of another type") {
		t.Errorf("got %v, want a *chunker.ChangedError", res.Files[1].Err)
	}
}

package snapshot

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"fast-export/internal/pgtest"
)

// between passes on what a server and its clients say, and returns the DSN by which it is reached. When a client asks for a slot, the
// server's answers are lost from there on; with cut the client is cut off as well, which the server does not learn.
func between(t *testing.T, dsn string, cut bool) string {
	t.Helper()
	cfg := config(t, dsn)
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432"))
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); l.Close(); all.Wait() })
	serve := func(client net.Conn) {
		defer client.Close()
		network, address := pgconn.NetworkAddress(cfg.Host, cfg.Port)
		server, err := net.Dial(network, address)
		if err != nil {
			t.Error(err)
			return
		}
		defer server.Close()
		asked := make(chan struct{})
		all.Go(func() {
			buf := make([]byte, 64<<10)
			for {
				n, err := server.Read(buf)
				if err != nil {
					client.Close()
					return
				}
				select {
				case <-asked:
					continue
				default:
				}
				if _, err := client.Write(buf[:n]); err != nil {
					return
				}
			}
		})
		buf := make([]byte, 64<<10)
		for {
			n, err := client.Read(buf)
			if err != nil {
				if err != io.EOF {
					<-ctx.Done()
				}
				return
			}
			is := bytes.Contains(buf[:n], []byte("CREATE_REPLICATION_SLOT"))
			if is {
				close(asked)
			}
			if _, err := server.Write(buf[:n]); err != nil {
				return
			}
			if is {
				if cut {
					time.Sleep(300 * time.Millisecond)
					client.Close()
				}
				<-ctx.Done()
			}
		}
	}
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { serve(c) })
		}
	})
	return fmt.Sprintf("host=%s port=5432 user=%s dbname=%s sslmode=disable", dir, cfg.User, cfg.Database)
}

// Whatever becomes of the answer to a slot's creation, no slot stays that nobody knows of, and no walsender that will make one.
func TestSlotWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	srv := pgtest.Start(t, pgtest.Config{Settings: []string{"wal_level = logical"}})
	for _, c := range []struct {
		name           string
		writer         bool // a transaction is open, which the creation waits for
		cut, proxy     bool
		slot           Slot
		after, timeout time.Duration // of the context; of the slot
	}{
		{name: "interrupted while it waits", writer: true, slot: Slot{Name: "s"}, after: 400 * time.Millisecond},
		{name: "too late", writer: true, slot: Slot{Name: "s"}, timeout: 400 * time.Millisecond},
		{name: "cut off while it waits", writer: true, proxy: true, cut: true, slot: Slot{Name: "s"}},
		{name: "cut off while a temporary one waits", writer: true, proxy: true, cut: true, slot: Slot{Temporary: true}},
		{name: "cut off when it is made", proxy: true, cut: true, slot: Slot{Name: "s"}},
		{name: "interrupted when it is made, and no answer", proxy: true, slot: Slot{Name: "s"}, after: 400 * time.Millisecond},
		{name: "too late when it is made, and no answer", proxy: true, slot: Slot{Name: "s"}, timeout: 400 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			dsn := srv.Database(t)
			pgtest.Exec(t, dsn, "CREATE TABLE t (i int)")
			writer := pgtest.Connect(t, dsn)
			if c.writer {
				if _, err := writer.Exec(t.Context(), "BEGIN; INSERT INTO t VALUES (1)"); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			if c.after > 0 {
				ctx, cancel = context.WithTimeout(t.Context(), c.after)
			}
			defer cancel()
			to := dsn
			if c.proxy {
				to = between(t, dsn, c.cut)
			}
			c.slot.Timeout = c.timeout
			var log bytes.Buffer
			s, err := Open(ctx, config(t, to), Options{Slot: c.slot, Prepare: of(false, "t"), Log: slog.New(slog.NewTextHandler(&log, nil))})
			if err == nil {
				s.Close(t.Context())
				t.Fatal("there is a snapshot")
			}
			if c.writer {
				if _, err := writer.Exec(t.Context(), "COMMIT"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(200 * time.Millisecond) // what still waits makes its slot now
			}
			// Where the connection dies the moment the slot is there, nobody may have seen it in our hands: then it must be named.
			named := c.cut && !c.writer && strings.Contains(log.String(), "slot=s ")
			if got := slots(t, dsn); (got != "" || log.Len() > 0) && !named {
				t.Errorf("left is %q after %v\n%s", got, err, log.String())
			}
			if got := strings.TrimSpace(pgtest.Query(t, dsn, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'")); got != "0" {
				t.Errorf("%s walsenders are left", got)
			}
			pgtest.Query(t, dsn, "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots WHERE NOT active")
		})
	}
}

// A slot that somebody else made under the name meanwhile stays, and a line in the log names it.
func TestSlotOfSomebodyElse(t *testing.T) {
	t.Parallel()
	srv := pgtest.Start(t, pgtest.Config{Settings: []string{"wal_level = logical"}})
	dsn := srv.Database(t)
	conn := pgtest.Connect(t, dsn)
	for _, seen := range []string{"", "0/1"} {
		pgtest.Query(t, dsn, "SELECT pg_create_logical_replication_slot('theirs', 'pgoutput')")
		var log bytes.Buffer
		h := &slotHolder{conn: conn.PgConn(), cfg: config(t, dsn), name: "theirs", seen: seen, log: slog.New(slog.NewTextHandler(&log, nil))}
		h.reclaim(t.Context())
		if got := slots(t, dsn); got != "theirs" || !strings.Contains(log.String(), "slot=theirs") {
			t.Errorf("left is %q\n%s", got, log.String())
		}
		pgtest.Query(t, dsn, "SELECT pg_drop_replication_slot('theirs')")
	}
	if err := conn.Ping(t.Context()); err != nil { // it is no walsender
		t.Error(err)
	}
}

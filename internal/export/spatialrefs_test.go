package export

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"fast-export/internal/column"
	"fast-export/internal/pgtest"
	"fast-export/internal/progress"
	"fast-export/snapshot"
	"fast-export/typemap"
)

// What a file says of its geometries' reference system is read inside the snapshot and needs no further connection; where it may not be
// read there is a warning, and the transaction goes on. PostGIS itself is not needed for this.
func TestSpatialRefsInTheSnapshot(t *testing.T) {
	dsn := pgtest.Start(t, pgtest.Config{}).Database(t)
	pgtest.Exec(t, dsn, "CREATE TABLE spatial_ref_sys (srid int, srtext text)",
		`INSERT INTO spatial_ref_sys VALUES (32632, 'GEOGCS["own",DATUM["own",SPHEROID["own",6378137,298.25]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]')`,
		"CREATE ROLE few LOGIN CONNECTION LIMIT 2", "CREATE ROLE barred LOGIN CONNECTION LIMIT 2", "GRANT SELECT ON spatial_ref_sys TO few")
	for role, known := range map[string]bool{"few": true, "barred": false} {
		cfg := config(t, strings.Replace(dsn, "user=postgres", "user="+role, 1), Job{Table: "g"})
		snap, err := snapshot.Open(t.Context(), cfg.Conn, snapshot.Options{Prepare: func(context.Context, *pgx.Conn, int) ([]snapshot.Relation, error) { return nil, nil }})
		if err != nil {
			t.Fatal(err)
		}
		defer snap.Close(t.Context())
		w, err := snap.NewWorker(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close(t.Context())
		pgtest.Exec(t, dsn, "UPDATE spatial_ref_sys SET srtext = '' WHERE srid = 32632") // the snapshot has the old one

		cat, err := typemap.NewCatalog([]typemap.CatalogRow{{
			OID: 90000, Name: "geometry", Schema: "public", Display: "geometry", Kind: "b", Len: -1, Typmod: -1, Delim: ":",
			HasSend: true, HasTextCast: true, Output: "public.geometry_out", Extension: "postgis", ExtVersion: "3.3.2",
		}})
		if err != nil {
			t.Fatal(err)
		}
		types, err := typemap.NewPlan(cat, []typemap.Column{{Name: "p", OID: 90000, Typmod: -1}}, typemap.Options{ServerVersion: 150000}, typemap.Binary)
		if err != nil {
			t.Fatal(err)
		}
		dec := types.NewDecoder(typemap.DecoderOptions{BatchRows: 10, BatchBytes: 1 << 16, Next: func(*column.Batch) (*column.Batch, error) {
			return column.NewBatch(len(types.Leaves), len(types.Schema.Fields()), nil), nil
		}})
		if _, err := dec.Write(copyOfPoint(32632)); err != nil {
			t.Fatal(err)
		}
		if _, err := dec.Finish(); err != nil {
			t.Fatal(err)
		}

		r := &run{cfg: cfg, log: slog.New(slog.DiscardHandler), report: progress.Silent(), warned: map[string]bool{}}
		j := &job{Job: &cfg.Jobs[0], types: types}
		c := &copying{r: r, snap: snap, w: w}
		for range 2 { // the second chunk has nothing to ask
			if err := c.spatialRefs(t.Context(), j); err != nil {
				t.Fatal(err)
			}
		}
		var timeout string
		if err := w.Conn().QueryRow(t.Context(), "SELECT current_setting('lock_timeout')").Scan(&timeout); err != nil || timeout != "0" {
			t.Errorf("the transaction does not go on as it was: %q, %v", timeout, err)
		}
		meta, _, err := types.FileMetadata()
		if err != nil {
			t.Fatal(err)
		}
		if described := !strings.Contains(meta["geo"], `"crs":null`); described != known {
			t.Errorf("%s: %s", role, meta["geo"])
		}
		if warned := len(r.warnings) == 1 && strings.Contains(r.warnings[0], "permission denied"); warned == known {
			t.Errorf("%s: warnings %q", role, r.warnings)
		}
		w.Close(t.Context())
		snap.Close(t.Context())
		pgtest.Exec(t, dsn, `UPDATE spatial_ref_sys SET srtext = 'GEOGCS["own",DATUM["own",SPHEROID["own",6378137,298.25]],PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]'`)
	}
}

// copyOfPoint is the binary COPY of one row with one geometry, a point in PostGIS's extended WKB.
func copyOfPoint(srid uint32) []byte {
	le, be := binary.LittleEndian, binary.BigEndian
	ewkb := le.AppendUint32(le.AppendUint32([]byte{1}, 0x20000001), srid)
	ewkb = append(ewkb, make([]byte, 16)...) // at 0, 0
	return slices.Concat([]byte("PGCOPY\n\xff\r\n\x00"), make([]byte, 8), be.AppendUint32([]byte{0, 1}, uint32(len(ewkb))), ewkb, bytes.Repeat([]byte{0xff}, 2))
}

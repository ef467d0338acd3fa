package cli

import "fast-export/internal/export"

// lossReport is what --report writes. docs/json-output.md is its contract: fields are only added.
type lossReport struct {
	Version  string       `json:"fast_export_version"`
	Snapshot string       `json:"snapshot"` // pg_current_snapshot()
	Server   string       `json:"server_version"`
	Files    []fileReport `json:"files"`
	Warnings []string     `json:"warnings"`
}

type fileReport struct {
	Path      string         `json:"path"`
	Source    string         `json:"source"`
	Rows      int64          `json:"rows"`
	Bytes     int64          `json:"bytes"`
	RowGroups int64          `json:"row_groups"`
	Error     string         `json:"error,omitempty"`
	Columns   []columnReport `json:"columns"`
}

type columnReport struct {
	Name      string `json:"name"`
	Postgres  string `json:"postgres_type"`
	Arrow     string `json:"arrow_type"`
	Parquet   string `json:"parquet_type"`
	Note      string `json:"note,omitempty"`
	Inexact   int64  `json:"inexact_values"`
	Nonfinite int64  `json:"nonfinite_values"`
	Clamped   int64  `json:"clamped_values"`
	Replaced  int64  `json:"replaced_values"`
	FellBack  int64  `json:"fallen_back_values"`
}

// writeReport writes the report whole or not at all.
//
// Errors: *export.DocumentError.
func writeReport(path string, r *export.Result) error {
	out := lossReport{
		Version: buildInfo().version, Snapshot: r.Snapshot.Fingerprint, Server: r.Snapshot.Server,
		Files: []fileReport{}, Warnings: append([]string{}, r.Warnings...),
	}
	for _, f := range r.Files {
		fr := fileReport{Path: f.Path, Source: f.Source, Rows: f.Rows, Bytes: f.Bytes, RowGroups: f.RowGroups, Columns: []columnReport{}}
		if f.Err != nil {
			fr.Error = oneLine(judge(f.Err).message)
		}
		for _, c := range f.Columns {
			fr.Columns = append(fr.Columns, columnReport{
				c.Name, c.Postgres, c.Arrow, c.Parquet, c.Note, c.Inexact, c.Nonfinite, c.Clamped, c.Replaced, c.FellBack,
			})
		}
		out.Files = append(out.Files, fr)
	}
	return export.ReportDocument.Write(path, out)
}

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"fast-export/butler"
	"fast-export/internal/export"
	"fast-export/internal/progress"
	"fast-export/parquetw"
)

func butlerCommand() command {
	return command{
		name:    "butler",
		summary: "take all datasets of one type in a Butler collection to one Parquet file",
		usage:   []string{"OUTPUT REPO COLLECTION [flags]"},
		about: "Reads every dataset of one type that a collection of an LSST Butler repository holds and writes their rows to one Parquet file, one row " +
			"group a dataset (with more than 32,767 of them, the most that Parquet counts, neighbours share one), as astropy tables would give them. REPO is a label of the repository index, a directory, a butler.yaml or a file: URI. " +
			"COLLECTION is a name, a list with commas, or a pattern. Needs no Python and writes nothing to the repository. The program called " +
			"as extract-catalog is this command.",
		example: "fast-export butler dia_sources.parquet /repo/main LSSTCam/runs/DRP/FL/w_2025_19/DM-50795 --filter-ids obs_sbn.parquet --filter-column obssubid",
		new: func(f *flags) runFunc {
			o := &butlerOptions{}
			o.addFlags(f)
			return func(ctx context.Context, a *app) error { return o.butler(ctx, a, f) }
		},
	}
}

type butlerOptions struct {
	opt                  butler.Options
	pathMaps             []string
	idFile, idColumn     string
	compression          parquetw.Compression
	overwrite, noClobber bool
	parallel, memory     int64
	tempDir, manifest    string
	dryRun, silent       bool
	progress, logLevel   string
}

func (o *butlerOptions) addFlags(f *flags) {
	f.takes = []string{"OUTPUT", "REPO", "COLLECTION"}
	f.group("Datasets")
	f.StringVar(&o.opt.DatasetType, "dataset-type", butler.DefaultDatasetType, "`NAME` the type of the datasets")
	f.StringVar(&o.opt.Where, "where", "", "`CONDITION` on dimensions: visit > 100 AND band IN ('g', 'r')")
	f.BoolVar(&o.opt.FindFirst, "find-first", false, "of each data ID only what the first collection holds")
	f.BoolVar(&o.opt.KeepDuplicates, "keep-duplicates", false, "a dataset once for every collection of the search that holds it")
	f.BoolVar(&o.opt.SkipMissing, "skip-missing", false, "go on past datasets that are not stored or whose file is gone, and count them; never past damage")
	f.Var(parsed[butler.SchemaMode]{&o.opt.SchemaMode, unnamed(butler.ParseSchemaMode), "strict", "mode"}, "schema-mode", "`strict|union|intersect` what to do with tables of different columns")
	f.Var(list{&o.pathMaps, o.pathMap, "old=new"}, "path-map", "`OLD=NEW` read what is recorded under one path or URI from another; may be given again")
	f.BoolVar(&o.dryRun, "dry-run", false, "list what would be read, with its place, and read no dataset")

	f.group("Rows and columns")
	f.StringVar(&o.idFile, "filter-ids", "", "`FILE` a Parquet file of ids: only rows whose target column is among them")
	f.StringVar(&o.idColumn, "filter-column", "", "`NAME` the column of ids in that file (default: its first)")
	f.StringVar(&o.opt.TargetColumn, "target-column", butler.DefaultTargetColumn, "`NAME` the column of the datasets that is compared with the ids")
	f.Var(list{&o.opt.Columns, literalNames, "names"}, "columns", "`NAME,…` the columns wanted, in this order; case counts (default: all)")
	f.BoolVar(&o.opt.AddDataID, "add-data-id", false, "the dimensions' values as further columns")

	f.group("Output")
	f.Var(parsed[parquetw.Compression]{&o.compression, pyarrowCompression, "zstd:1", "codec"}, "compression", "`CODEC` zstd[:level], snappy, gzip[:level], lz4 or none")
	f.BoolVar(&o.overwrite, "overwrite", false, "replace what stands at OUTPUT even if it is no Parquet file")
	f.BoolVar(&o.noClobber, "no-clobber", false, "replace nothing, a Parquet file neither")
	f.StringVar(&o.manifest, "manifest", "", "`FILE` tell of the file, its hash and what was read, as JSON")

	f.group("Speed and space")
	o.parallel = int64(runtime.NumCPU())
	f.Var(count{&o.parallel, 1, maxParallel}, "parallel", "`N` datasets read at a time")
	f.Lookup("parallel").DefValue = "the number of cores"
	o.memory = 1 << 30
	f.Var(size{&o.memory, minMemory, maxMemory}, "memory", "`SIZE` what rows and pages may take of memory")
	f.StringVar(&o.tempDir, "temp-dir", "", "`DIRECTORY` an existing one, for what memory does not hold (default: beside the output)")

	f.group("What you see")
	f.Var(choice{&o.progress, []string{"none", "bar", "plain", "json"}}, "progress", "`none|bar|plain|json` how it is shown, on standard error (default: bar on a terminal, else plain)")
	f.BoolVar(&o.silent, "silent", false, "no progress, and a failed run prints its error alone, without a hint")
	o.logLevel = "warn"
	f.Var(choice{&o.logLevel, []string{"debug", "info", "warn", "error"}}, "log-level", "`debug|info|warn|error` what is logged, on standard error")
}

// literalNames cuts a list of names at its commas; nothing is folded.
func literalNames(v string) ([]string, error) {
	names := strings.Split(v, ",")
	if slices.Contains(names, "") {
		return nil, errors.New("a name is empty")
	}
	return names, nil
}

// unnamed takes the option's name from the error of one that reads a flag: the flag is named already.
func unnamed[T any](parse func(string) (T, error)) func(string) (T, error) {
	return func(v string) (T, error) {
		t, err := parse(v)
		if e, ok := errors.AsType[*butler.UsageError](err); ok {
			err = errors.New(e.Reason)
		}
		return t, err
	}
}

func (o *butlerOptions) pathMap(v string) ([]string, error) {
	m, err := unnamed(butler.ParsePathMap)(v)
	if err != nil {
		return nil, &ownWords{err}
	}
	o.opt.PathMaps = append(o.opt.PathMaps, m)
	return []string{v}, nil
}

func (o *butlerOptions) finalize(a *app, f *flags) (export.Catalog, error) {
	var c export.Catalog
	args := f.Args()
	if len(args) < len(f.takes) {
		return c, usagef(cmp.Or(a.Alias, "fast-export butler")+" OUTPUT REPO COLLECTION, or --help", "%s is missing", f.takes[len(args)])
	}
	for i, v := range args {
		if strings.TrimSpace(v) == "" {
			return c, usagef("", "%s is empty", f.takes[i])
		}
	}
	for _, name := range []string{"dataset-type", "where", "filter-ids", "filter-column", "target-column", "temp-dir", "manifest"} {
		if fl := f.Lookup(name); fl.Changed && strings.TrimSpace(fl.Value.String()) == "" {
			return c, usagef("", "--%s is empty", name)
		}
	}
	switch {
	case o.overwrite && o.noClobber:
		return c, usagef("", "--overwrite and --no-clobber contradict each other")
	case o.silent && f.Changed("progress") && o.progress != "none":
		return c, usagef("", "--silent and --progress %s contradict each other", o.progress)
	case (f.Changed("filter-column") || f.Changed("target-column")) && o.idFile == "":
		return c, usagef("", "--filter-column and --target-column go with --filter-ids")
	case o.dryRun && o.manifest != "":
		return c, usagef("", "--dry-run makes no file, so there is nothing for a --manifest")
	}
	if o.tempDir != "" {
		if info, err := os.Stat(o.tempDir); err != nil || !info.IsDir() {
			return c, &hinted{fmt.Errorf("--temp-dir %s is no directory", quoteArg(o.tempDir)), codeTarget, "directories are never made: mkdir -p makes one"}
		}
	}
	o.opt.Repo, o.opt.Collections = args[1], []string{args[2]}
	o.opt.Getenv = a.Getenv
	c = export.Catalog{
		Options: o.opt, IDFile: o.idFile, IDColumn: o.idColumn, Out: args[0], Compression: o.compression, Memory: o.memory, Parallel: int(o.parallel),
		TempDir: o.tempDir, Manifest: o.manifest, Version: buildInfo().version,
	}
	switch {
	case o.overwrite:
		c.Overwrite = parquetw.ReplaceAny
	case o.noClobber:
		c.Overwrite = parquetw.NoClobber
	}
	return c, nil
}

func (o *butlerOptions) butler(ctx context.Context, a *app, f *flags) (err error) {
	defer func() {
		if o.silent && err != nil {
			err = &unhinted{err}
		}
	}()
	c, err := o.finalize(a, f)
	if err != nil {
		return err
	}
	c.Options.Postgres = registryConn(a.Getenv, func(text string) {
		if !o.silent {
			a.warn(text)
		}
	})
	defer tuneGC(a.Getenv, o.memory)()
	if o.dryRun {
		c.Options.Log = a.logger(a.Stderr, o.logLevel)
		c.Options.FullDataID = true
		return o.list(ctx, a, c)
	}
	show := a.display(o.progress, o.silent)
	c.Progress = show
	c.Options.Log = a.logger(show, o.logLevel)
	res, err := export.ExtractCatalog(ctx, c)
	if err != nil {
		show.Close()
		return outputHint(err)
	}
	for _, w := range res.Summary.Warnings {
		show.Report(progress.Warning{Text: w})
	}
	show.Close()
	if o.manifest != "" {
		if err := export.ManifestDocument.Write(o.manifest, export.NewCatalogManifest(c, res)); err != nil {
			return err
		}
	}
	return a.print(catalogSummary(c, res))
}

// butlerVerdict judges the errors of the butler package, false for all others.
func butlerVerdict(err error) (verdict, bool) {
	if e, ok := errors.AsType[*butler.UsageError](err); ok {
		return verdict{code: codeUsage, message: e.Error()}, true
	}
	if e, ok := errors.AsType[*butler.FilterError](err); ok {
		v := verdict{code: codeValue, message: e.Error(), hint: "every id must be a whole number that fits 64 bits, or a text of its digits"}
		switch {
		case errors.Is(err, fs.ErrPermission):
			v.hint = "may this user read it?"
		case e.Type != "": // it is about the ids
		case e.Column != "" && e.Err == nil:
			v.hint = "--filter-column names the column of ids, as the file spells it"
		default:
			v.hint = "--filter-ids takes a Parquet file with a column of ids"
		}
		return v, true
	}
	if e, ok := errors.AsType[*butler.DatasetError](err); ok {
		v := verdict{code: codeButler, message: e.Error()}
		if e.Missing {
			v.hint = "--skip-missing goes on past what is not there"
		}
		return v, true
	}
	r, ok := errors.AsType[*butler.RepoError](err)
	if !ok {
		return verdict{}, false
	}
	c, ok := errors.AsType[*butler.ConnectError](err)
	if !ok {
		return verdict{code: codeButler, message: message(err)}, true
	}
	v := verdict{code: codeConnect, message: c.Error(), hint: "registry.db in the repository's butler.yaml names the server: is it running, and can it be reached from here?"}
	tries := findAll[*pgconn.ConnectError](err)
	if len(tries) > 0 {
		v.message = "the registry at " + c.Server + ": " + connectVerdict(tries).message
	}
	v.message = "butler repository " + quoteArg(r.Repo) + ": " + v.message
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch {
		case strings.HasPrefix(pg.Code, "28"):
			v.hint = "tried: " + strings.Join(c.Tried, "; ") + ". "
			switch {
			case c.PasswordFrom == "":
				v.hint += "Credentials come from db-auth.yaml (LSST_DB_AUTH, or ~/.lsst), else as libpq finds them: PGPASSWORD, a service, PGPASSFILE or ~/.pgpass"
			case len(c.Tried) == 1: // a server without a name, which no list of credentials knows
				v.hint += "PGPASSWORD and ~/.pgpass don't count beside it: correct or remove it there"
			default:
				v.hint += "PGPASSWORD and ~/.pgpass don't count beside it: correct or remove it there, or give another in db-auth.yaml (LSST_DB_AUTH, or ~/.lsst)"
			}
		case pg.Code == "53300" || pg.Code == "57P03":
			v.hint = "try again later"
		default:
			v.hint = "registry.db in the repository's butler.yaml names the server and the database"
		}
	}
	return v, true
}

// outputHint is err with a hint that names what this command calls its output.
func outputHint(err error) error {
	if v := judge(err); strings.Contains(v.hint, "--out") && v.code == codeTarget {
		v.hint = strings.NewReplacer("choose another place by --out and --temp-dir", "choose another place for OUTPUT or --temp-dir", "--out", "OUTPUT").Replace(v.hint)
		return &hinted{errors.New(v.message), v.code, v.hint}
	}
	return err
}

// pyarrowCompression takes the codecs as pyarrow spells them too, in any case.
func pyarrowCompression(s string) (parquetw.Compression, error) {
	return parquetw.ParseCompression(strings.ToLower(s))
}

// registryConn settles whom to connect to for a registry, by the same rules as for an export: what the repository says is as good as
// flags, and the service file and the environment give what it does not say. A warning is given once, for a run may list twice.
func registryConn(getenv func(string) string, warn func(string)) func(map[string]string) (*pgx.ConnConfig, []string, error) {
	warned := map[string]bool{}
	return func(own map[string]string) (*pgx.ConnConfig, []string, error) {
		o := connOptions{file: own, warn: func(text string) {
			if !warned[text] {
				warned[text] = true
				warn(text)
			}
		}}
		all, err := o.all(getenv)
		var cfg *pgx.ConnConfig
		if err == nil {
			cfg, err = pgxConfig(all)
		}
		if err != nil {
			v := judge(err)
			return nil, nil, &hinted{errors.New("the registry's connection: " + v.message), v.code, v.hint}
		}
		return cfg, passwordSource(own, all, cfg, getenv), nil
	}
}

// passwordSource says where the password of a registry's connection is from, or where one was looked for, beside what the repository says.
func passwordSource(own, all settings, cfg *pgx.ConnConfig, getenv func(string) string) []string {
	service := ""
	if name := cmp.Or(own["service"], getenv("PGSERVICE")); name != "" {
		service = "the service " + name
	}
	switch {
	case own["password"] != "":
		return nil // the list of credentials or the configuration has it, and is named already
	case all["password"] != "" && service != "" && all["password"] != getenv("PGPASSWORD"):
		return []string{"a password from " + service}
	case all["password"] != "":
		return []string{"a password from PGPASSWORD"}
	case cfg.Password != "":
		return []string{"a password from " + all["passfile"]}
	}
	none := "no password in the configuration, PGPASSWORD or " + cmp.Or(service, "a service (PGSERVICE is not set)")
	why := " (no line fits)"
	if _, err := os.Stat(all["passfile"]); errors.Is(err, fs.ErrNotExist) {
		why = " (not there)"
	}
	if all["passfile"] == os.DevNull {
		return []string{none, "no password file that may be used"}
	}
	return []string{none, all["passfile"] + why}
}

// list prints a line a dataset.
func (o *butlerOptions) list(ctx context.Context, a *app, c export.Catalog) (err error) {
	e, err := export.ListCatalog(ctx, c)
	if err != nil {
		return outputHint(err)
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	var b strings.Builder
	var bytes int64
	bad := 0
	for d := range e.Datasets() {
		var id []string
		for _, dim := range d.DataID {
			id = append(id, printable(dim.Name)+"="+printable(fmt.Sprint(dim.Value)))
		}
		size := "size unknown"
		if d.Bytes >= 0 {
			size = strconv.FormatInt(d.Bytes, 10) + " bytes"
			bytes += min(d.Bytes, math.MaxInt64-bytes) // sizes are what a registry says
		}
		place := printable(d.Location)
		if d.Problem != nil {
			bad++
			place = "cannot be read: " + oneLine(d.Problem.Error())
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\n", strings.Join(id, " "), printable(d.Run), size, place)
	}
	fmt.Fprintf(&b, "%s of type %s, %s, %s that cannot be read; %s left out\n", plural(int64(e.Len()), "dataset"), c.Options.DatasetType, bytesText(bytes), humanize.Comma(int64(bad)), plural(e.Repeats(), "repeat"))
	return a.print(b.String())
}

// printable quotes a text that would break its line or steer the terminal.
func printable(s string) string {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// catalogSummary is what stands on stdout after an extraction.
func catalogSummary(c export.Catalog, r *export.CatalogResult) string {
	var b strings.Builder
	s := r.Summary
	if r.File.Path == "" {
		fmt.Fprintf(&b, "no file: %s\n", oneLine(s.NoSchema))
	} else {
		fmt.Fprintf(&b, "%s: %s, %s, %s, %s\n", r.File.Path, plural(r.File.Rows, "row"), plural(int64(len(r.File.Columns)), "column"),
			plural(r.File.RowGroups, "row group"), bytesText(r.File.Bytes))
	}
	full := func(n int) string { return humanize.Comma(int64(n)) }
	fmt.Fprintf(&b, "%s found, %s written, %s without rows", plural(int64(s.Found), "dataset"), full(s.Written), full(s.Empty))
	if c.IDFile != "" {
		fmt.Fprintf(&b, ", %s without a wanted id (%s of them by their statistics)", full(s.Unmatched), full(s.Excluded))
	}
	fmt.Fprintf(&b, ", %s missing, %s left out\n", full(s.Missing), plural(s.Repeats, "repeat"))
	if c.IDFile != "" {
		fmt.Fprintf(&b, "%s read, %s wanted\n", plural(s.RowsRead, "row"), plural(int64(r.IDs), "id"))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Cut)) {
		fmt.Fprintf(&b, "  %s: %s cut to the declared width\n", strconv.Quote(name), plural(s.Cut[name], "value"))
	}
	if r.File.Path != "" {
		fmt.Fprintf(&b, "%s in %s\n", filepath.Base(c.Out), progress.Duration(r.Elapsed))
	}
	return b.String()
}

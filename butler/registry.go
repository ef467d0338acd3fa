package butler

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite" // the pure-Go SQLite driver
	sqlite3 "modernc.org/sqlite/lib"
)

// registry is an open read-only transaction on a repository's database, with what must be known to query it.
type registry struct {
	session  session
	second   func(context.Context) (session, error) // another session that sees the same state, nil where there can be none
	postgres bool
	schema   string // quoted, with its dot, "" in SQLite
	universe *universe
	nameKey  bool       // collections are keyed by name, not by number
	file     string     // of a SQLite registry
	watched  *fileState // of a file that is read without a lock: it must be the same at the end
}

// session is a connection inside its one read-only transaction.
type session interface {
	// each runs a query and calls row for each row. The values are int64, float64, string, blob or nil (in SQLite, where
	// any column may hold any of them, also a time.Time); the slice is valid during the call.
	each(ctx context.Context, query string, args []any, row func(v []any) error) error
	close() error
}

// openRegistry connects, begins the one transaction that everything is read in, and checks that the schema is one we
// know. The caller closes it.
func openRegistry(ctx context.Context, c *repoConfig, o Options) (*registry, error) {
	u, tried, err := c.dbURL(o.Getenv)
	if err != nil {
		return nil, &RepoError{Repo: c.name, Reason: "cannot find the registry", Err: err}
	}
	r := &registry{}
	if u.dialect == "sqlite" {
		err = r.openSQLite(ctx, u, o.Log)
	} else {
		err = r.openPostgres(ctx, u, tried, c.namespace, o.Postgres)
	}
	if err == nil {
		err = r.check(ctx, c, o.Log)
	}
	if err != nil {
		err = r.end(err)
		return nil, &RepoError{Repo: c.name, Reason: "cannot use the registry", Err: err}
	}
	return r, nil
}

// end closes the registry after all reading of it, which ended with err, and gives the error that counts: what was read of a file that
// changed meanwhile, or what went wrong then, means nothing.
func (r *registry) end(err error) error {
	if r.watched != nil {
		if now, werr := watch(r.file); werr != nil || !now.same(r.watched) {
			err = fmt.Errorf("the registry %s was changed while it was read: try again", r.file)
		}
	}
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return err
}

// Close ends the transaction and the connection. It may be called more than once.
func (r *registry) Close() error {
	if r.session == nil {
		return nil
	}
	err := r.session.close()
	r.session = nil
	if err != nil {
		return fmt.Errorf("close the registry: %w", err)
	}
	return nil
}

// count runs a query that gives one number.
func (r *registry) count(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = r.session.each(ctx, query, args, func(v []any) error {
		n, err = integer(v[0], "a count")
		return err
	})
	return n, err
}

// sqliteBusyTimeout is how long a query waits for a writer; Python waits as long.
const sqliteBusyTimeout = 60 * time.Second

// quietWait is how long a query may take before people are told that it waits.
const quietWait = 3 * time.Second

// openSQLite opens the file so that nothing is written to it or beside it.
//
// mode=ro creates no rollback journal, but on a database in WAL mode it would create the -wal and -shm files, or fail in
// a directory where it cannot. A WAL database whose log is not there or empty holds all its content itself and is opened
// as immutable; no lock is taken then, so that end looks whether the file changed (what others add to a log meanwhile is
// none of ours). One with a log can only be read together with it: by the index of the log (-shm) that whoever writes
// has, or has left, and which readonly_shm keeps us from writing to.
// Source: https://sqlite.org/walformat.html, and walBeginShmUnreliable in SQLite's wal.c for an index that nobody keeps.
func (r *registry) openSQLite(ctx context.Context, u dbURL, log *slog.Logger) error {
	path, err := u.sqlitePath()
	if err != nil {
		return err
	}
	r.file = path
	state, err := watch(path)
	if err == nil && state.usesWAL() {
		state, err = state.settled(ctx, path)
	}
	if err != nil {
		return err
	}
	notice := time.AfterFunc(quietWait, func() {
		log.Warn(fmt.Sprintf("waiting up to %v for another program that is writing to the registry", sqliteBusyTimeout), "registry", path)
	})
	defer notice.Stop() // whoever has read once is waited for by writers
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?mode=ro&_pragma=temp_store(memory)&_pragma=query_only(1)"
	switch {
	case !state.usesWAL():
		// The shared lock of one session keeps everybody from committing, and so gives the other the same state.
		second := dsn + "&_pragma=busy_timeout(0)"
		r.second = func(ctx context.Context) (session, error) { return beginSQLite(ctx, second) }
	case !hasBytes(path + "-wal"): // looked at after the file: what a log had before then, the file has
		r.watched = state
		dsn += "&immutable=1"
	case hasBytes(path + "-shm"):
		dsn += "&readonly_shm=1"
	default:
		return fmt.Errorf("%s has a write-ahead log (-wal) without its index (-shm), and reading it would write beside it: let SQLite or Butler open the repository for writing once, or copy it with its -wal to a place where that can be done", path)
	}
	if r.session, err = beginSQLite(ctx, dsn+"&_pragma=busy_timeout("+strconv.FormatInt(sqliteBusyTimeout.Milliseconds(), 10)+")"); err != nil {
		return fmt.Errorf("%s: %w", path, explain(err))
	}
	n, err := r.count(ctx, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'butler_attributes'")
	if err != nil {
		return fmt.Errorf("%s: %w", path, explain(err))
	}
	if n == 0 {
		return fmt.Errorf("%s has no table butler_attributes: no Butler registry, or one from before 2021", path)
	}
	return nil
}

// sqliteSession is a SQLite connection inside BEGIN.
type sqliteSession struct {
	db   *sql.DB
	conn *sql.Conn
	tx   *sql.Tx
}

func beginSQLite(ctx context.Context, dsn string) (session, error) {
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	s := &sqliteSession{db: db}
	if s.conn, err = db.Conn(ctx); err == nil {
		s.tx, err = s.conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	}
	if err != nil {
		_ = s.close()
		return nil, err
	}
	return s, nil
}

func (s *sqliteSession) close() error {
	var errs []error
	if s.tx != nil {
		// The transaction ends by itself when its context does.
		if err := s.tx.Rollback(); !errors.Is(err, sql.ErrTxDone) {
			errs = append(errs, err)
		}
	}
	if s.conn != nil {
		errs = append(errs, s.conn.Close())
	}
	return errors.Join(append(errs, s.db.Close())...)
}

// each asks the driver itself: database/sql would lock, check and convert each value of rows that come by the hundred
// thousand. Nothing may be asked of the session in row.
func (s *sqliteSession) each(ctx context.Context, query string, args []any, row func(v []any) error) error {
	return s.conn.Raw(func(c any) (err error) {
		named := make([]driver.NamedValue, len(args))
		for i, a := range args {
			named[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
		}
		rows, err := c.(driver.QueryerContext).QueryContext(ctx, query, named)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		n := len(rows.Columns())
		values, v := make([]driver.Value, n), make([]any, n)
		for count := 0; ; count++ {
			if count%1024 == 0 && ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := rows.Next(values); err == io.EOF {
				return nil
			} else if err != nil {
				return err
			}
			for i := range v {
				switch x := values[i].(type) {
				case []byte:
					v[i] = blob(x)
				case bool: // a column declared BOOLEAN
					v[i] = int64(0)
					if x {
						v[i] = int64(1)
					}
				default:
					v[i] = x
				}
			}
			if err := row(v); err != nil {
				return err
			}
		}
	})
}

// fileState is by what a change of a SQLite file is seen.
type fileState struct {
	info   os.FileInfo
	header [100]byte // with counters of changes, and the size. Source: https://sqlite.org/fileformat2.html, section 1.3
}

// watch looks at a SQLite file.
func watch(path string) (*fileState, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	s := &fileState{info: info}
	if _, err := io.ReadFull(f, s.header[:]); err != nil || string(s.header[:16]) != "SQLite format 3\x00" {
		return nil, fmt.Errorf("%s is no SQLite database", path)
	}
	return s, nil
}

// usesWAL tells whether the database is in WAL mode.
func (s *fileState) usesWAL() bool { return s.header[19] == 2 }

// same tells whether nobody has written to the file between two looks at it.
func (s *fileState) same(o *fileState) bool {
	return os.SameFile(s.info, o.info) && s.info.Size() == o.info.Size() && s.info.ModTime().Equal(o.info.ModTime()) && s.header == o.header
}

// clockTick is more than file systems take to give a change another time than the one before it.
const clockTick = 20 * time.Millisecond

// settled gives the state of a file once its last change is so long ago that a further one would have another time.
func (s *fileState) settled(ctx context.Context, path string) (*fileState, error) {
	if age := time.Since(s.info.ModTime()); age < 0 || age >= clockTick {
		return s, nil
	}
	select {
	case <-time.After(clockTick):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return watch(path)
}

// hasBytes tells whether there is a file that is not empty. SQLite would change the permissions of an empty one beside its database.
func hasBytes(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() > 0
}

// openPostgres connects and begins REPEATABLE READ, READ ONLY. Every statement is sent whole, none prepared under a
// name: between us and the server there may be a pooler that gives each transaction another connection.
func (r *registry) openPostgres(ctx context.Context, u dbURL, tried []string, namespace string, configure func(map[string]string) (*pgx.ConnConfig, []string, error)) error {
	if configure == nil {
		configure = func(settings map[string]string) (*pgx.ConnConfig, []string, error) {
			cfg, err := pgx.ParseConfig(conninfo(settings))
			return cfg, nil, err
		}
	}
	cfg, more, err := configure(u.settings())
	tried = append(tried, more...)
	refused := func(err error) error {
		return &ConnectError{Server: u.String(), Tried: tried, PasswordFrom: u.passwordFrom, Err: &maskedError{err}}
	}
	if err != nil {
		return refused(err)
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.StatementCacheCapacity, cfg.DescriptionCacheCapacity = 0, 0
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "fast-export"
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return refused(err)
	}
	s := &postgresSession{conn: conn}
	r.session, r.postgres = s, true
	if s.tx, err = conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err != nil {
		return err
	}
	if namespace == "" {
		err := r.session.each(ctx, "SELECT current_schema()::text", nil, func(v []any) error {
			namespace, _ = v[0].(string)
			return nil
		})
		if err != nil {
			return err
		}
		if namespace == "" {
			return errors.New("the server has no current schema for this user: set registry.namespace in butler.yaml")
		}
	}
	r.schema = quoteIdent(namespace) + "."
	n, err := r.count(ctx, "SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1::text AND c.relname = 'butler_attributes'", namespace)
	if err != nil {
		return err
	}
	if n == 0 {
		return fmt.Errorf("schema %s of %s has no table butler_attributes: no Butler registry, check registry.namespace in butler.yaml", quoteName(namespace), u)
	}
	return nil
}

// postgresSession is a Postgres connection inside its transaction.
type postgresSession struct {
	conn *pgx.Conn
	tx   pgx.Tx
}

// close does not wait for long: the connection is of no use any more, and its transaction changed nothing.
func (s *postgresSession) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if s.tx != nil {
		_ = s.tx.Rollback(ctx) // a connection that is lost has no transaction to end
	}
	return s.conn.Close(ctx)
}

func (s *postgresSession) each(ctx context.Context, query string, args []any, row func(v []any) error) error {
	rows, err := s.tx.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		v, err := rows.Values()
		if err != nil {
			return err
		}
		for i := range v {
			switch x := v[i].(type) {
			case int16:
				v[i] = int64(x)
			case int32:
				v[i] = int64(x)
			case bool:
				v[i] = int64(0)
				if x {
					v[i] = int64(1)
				}
			}
		}
		if err := row(v); err != nil {
			return err
		}
	}
	return rows.Err()
}

// settings gives what u says in libpq's words. Options behind the ? win, as in SQLAlchemy's create_connect_args.
func (u dbURL) settings() map[string]string {
	s := map[string]string{}
	for key, value := range map[string]string{"user": u.username, "password": u.password, "host": u.host, "port": u.port, "dbname": u.database} {
		if value != "" {
			s[key] = value
		}
	}
	for key, values := range u.query {
		s[key] = strings.Join(values, ",")
	}
	return s
}

// conninfo writes settings as key=value pairs for pgx.
func conninfo(settings map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		b.WriteString(key + "='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(settings[key]) + "' ")
	}
	return b.String()
}

// maskedError is an error whose text has no password where one can stand: in a URL, and behind password= in a connection
// string. Elsewhere the letters of a password are those of other words: masking them would tell what they are.
type maskedError struct{ err error }

func (e *maskedError) Error() string {
	s := e.err.Error()
	if _, ok := errors.AsType[*pgconn.ParseConfigError](e.err); ok { // pgx masks only passwords without a quote
		s = "the connection's parameters cannot be used: " + s[strings.LastIndex(s, "`: ")+len("`: "):]
	}
	s = passwordInURL.ReplaceAllString(s, "${1}***@")
	return passwordOption.ReplaceAllString(s, "${1}***")
}

func (e *maskedError) Unwrap() error { return e.err }

var (
	passwordInURL  = regexp.MustCompile(`(://[^:/?#\s@]*:)[^/?#\s]*@`)
	passwordOption = regexp.MustCompile(`((?i:password)\s*=\s*)(?:'(?:[^'\\]|\\.)*'?|[^\s&]+)`)
)

func quoteIdent(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// table gives a table's quoted name in the registry's schema.
func (r *registry) table(name string) string { return r.schema + quoteIdent(name) }

// statement is a query under construction: its arguments are numbered in the way of the database.
type statement struct {
	r    *registry
	sql  strings.Builder
	args []any
}

func (r *registry) statement() *statement { return &statement{r: r} }

func (s *statement) add(parts ...string) *statement {
	for _, p := range parts {
		s.sql.WriteString(p)
	}
	return s
}

// arg adds a parameter.
func (s *statement) arg(v any) *statement {
	s.args = append(s.args, v)
	if s.r.postgres {
		s.sql.WriteString("$" + strconv.Itoa(len(s.args)))
	} else {
		s.sql.WriteString("?")
	}
	return s
}

// inChunk is how many values one IN takes in SQLite, well below the 999 parameters of old versions.
const inChunk = 500

// in adds a test that column is one of keys (all int64 or all string). In SQLite there may be at most inChunk.
func (s *statement) in(column string, keys []any) *statement {
	s.add(column)
	if s.r.postgres {
		s.add(" = ANY (")
		if _, isText := keys[0].(string); isText {
			s.arg(toSlice[string](keys)).add("::text[])")
		} else {
			s.arg(toSlice[int64](keys)).add("::bigint[])")
		}
		return s
	}
	s.add(" IN (")
	for i, k := range keys {
		if i > 0 {
			s.add(", ")
		}
		s.arg(k)
	}
	return s.add(")")
}

func toSlice[T any](v []any) []T {
	out := make([]T, len(v))
	for i, x := range v {
		out[i] = x.(T)
	}
	return out
}

// chunks splits keys so that each part fits one in.
func (r *registry) chunks(keys []any) [][]any {
	if r.postgres || len(keys) <= inChunk {
		if len(keys) == 0 {
			return nil
		}
		return [][]any{keys}
	}
	var out [][]any
	for c := range slices.Chunk(keys, inChunk) {
		out = append(out, c)
	}
	return out
}

// each runs the statement; see session.each.
func (s *statement) each(ctx context.Context, row func(v []any) error) error {
	return s.r.session.each(ctx, s.sql.String(), s.args, row)
}

// blob is a value that SQLite stores as bytes: no column that is read may hold one.
type blob string

func (b blob) String() string { return fmt.Sprintf("a blob of %d bytes", len(b)) }

// integer and str take a value as it must be by the schema: SQLite would store anything anywhere, and so would it take
// for text what is not UTF-8.
func integer(v any, what string) (int64, error) {
	if n, ok := v.(int64); ok {
		return n, nil
	}
	return 0, fmt.Errorf("%s is %s, not an integer", what, showValue(v))
}

func str(v any, what string) (string, error) {
	if s, ok := v.(string); ok && utf8.ValidString(s) {
		return s, nil
	}
	return "", fmt.Errorf("%s is %s, not text", what, showValue(v))
}

// collectionKey takes what collections are known by: a number, or their name.
func (r *registry) collectionKey(v any, what string) (any, error) {
	if r.nameKey {
		return str(v, what)
	}
	return integer(v, what)
}

// showValue writes a value of the registry for a message.
func showValue(v any) string {
	if s, ok := v.(string); ok {
		if !utf8.ValidString(s) {
			return fmt.Sprintf("a text of %d bytes that is not UTF-8", len(s))
		}
		return quoteName(excerpt(s))
	}
	if v == nil {
		return "null"
	}
	return fmt.Sprint(v)
}

// uuid is a dataset's id.
type uuid [16]byte

// parseUUID reads hexadecimal digits with or without dashes.
func parseUUID(s string) (u uuid, err error) {
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] == '-' {
			continue
		}
		d := hexDigits[s[i]]
		if d < 0 || n == 2*len(u) {
			n = -1
			break
		}
		u[n/2] = u[n/2]<<4 | byte(d)
		n++
	}
	if n != 2*len(u) {
		return uuid{}, fmt.Errorf("dataset id %s is no UUID", quoteName(excerpt(s)))
	}
	return u, nil
}

// hexDigits gives the value of a hexadecimal digit, -1 for any other byte.
var hexDigits = func() (t [256]int8) {
	for i := range t {
		t[i] = int8(strings.IndexByte("0123456789abcdef", byte(i)))
		if t[i] < 0 {
			t[i] = int8(strings.IndexByte("0123456789ABCDEF", byte(i)))
		}
	}
	return t
}()

// String writes the id with dashes.
func (u uuid) String() string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// text gives the id as the database stores it.
func (u uuid) text(postgres bool) string {
	if postgres {
		return u.String()
	}
	return hex.EncodeToString(u[:])
}

// managerRule says which classes and versions of one kind of manager we can read.
type managerRule struct {
	kind    string
	classes []string // last components of class paths
	majors  []int    // accepted major versions
	minor   int      // the newest known minor version; an older one is read too
}

// managerRules is the table of what is accepted. Source: the version constants of the manager classes, and the
// migrations of lsst/daf_butler_migrate for what came before.
var managerRules = []managerRule{
	{"attributes", []string{"DefaultButlerAttributeManager"}, []int{1}, 0},
	{"dimensions", []string{"StaticDimensionRecordStorageManager"}, []int{6}, 0},
	{"collections", []string{"SynthIntKeyCollectionManager", "NameKeyCollectionManager"}, []int{2}, 0},
	{"datasets", []string{"ByDimensionsDatasetRecordStorageManagerUUID"}, []int{1, 2}, 0},
	{"opaque", []string{"ByNameOpaqueTableStorageManager"}, []int{0}, 2},
	{"datastores", []string{"MonolithicDatastoreRegistryBridgeManager"}, []int{0}, 2},
}

// lastComponent is what class paths are compared by: releases moved classes between modules.
func lastComponent(class string) string { return class[strings.LastIndexByte(class, '.')+1:] }

// check reads butler_attributes, refuses managers and versions that we do not know, and takes the universe from it.
func (r *registry) check(ctx context.Context, c *repoConfig, log *slog.Logger) error {
	attributes := map[string]string{}
	err := r.statement().add("SELECT name, value FROM ", r.table("butler_attributes")).each(ctx, func(v []any) error {
		name, err := str(v[0], "an attribute's name")
		if err != nil {
			return err
		}
		attributes[name], err = str(v[1], "attribute "+name)
		return err
	})
	if err != nil {
		return explain(err)
	}
	if len(attributes) == 0 {
		return errors.New("butler_attributes is empty: the repository is too old, or was never finished")
	}
	for _, rule := range managerRules {
		class := attributes["config:registry.managers."+rule.kind]
		if class == "" {
			return fmt.Errorf("butler_attributes names no manager of %s", rule.kind)
		}
		version := attributes["version:"+class]
		if err := rule.accept(class, version); err != nil {
			return err
		}
		if configured := c.managers[rule.kind]; configured != "" && lastComponent(configured) != lastComponent(class) {
			log.Info("butler.yaml and the registry disagree on a manager, the registry is right", "kind", rule.kind, "configured", configured, "registry", class)
		}
	}
	r.nameKey = lastComponent(attributes["config:registry.managers.collections"]) == "NameKeyCollectionManager"
	raw, ok := attributes["config:dimensions.json"]
	if !ok {
		return errors.New("butler_attributes has no dimensions.json: the repository is too old, migrate it with daf_butler_migrate")
	}
	if r.universe, err = parseUniverse([]byte(raw)); err != nil {
		return err
	}
	return nil
}

func (rule managerRule) accept(class, version string) error {
	name := lastComponent(class)
	if !slices.Contains(rule.classes, name) {
		if rule.kind == "datasets" && name == "ByDimensionsDatasetRecordStorageManager" {
			return fmt.Errorf("the manager of datasets is %s, which numbers datasets by integers: migrate the repository with daf_butler_migrate", class)
		}
		return fmt.Errorf("unknown manager of %s: %s", rule.kind, class)
	}
	known := make([]string, len(rule.majors))
	for i, m := range rule.majors {
		known[i] = fmt.Sprintf("%d.%d", m, rule.minor)
	}
	major, minor, ok := parseVersion(version)
	if !ok {
		return fmt.Errorf("the manager of %s (%s) has version %s, which is none", rule.kind, name, quoteName(version))
	}
	if slices.Contains(rule.majors, major) && minor <= rule.minor {
		// Before 1.0 a minor version may change everything: only the one that we know is read.
		if major > 0 || minor == rule.minor {
			return nil
		}
	}
	hint := "migrate the repository with daf_butler_migrate"
	if last := rule.majors[len(rule.majors)-1]; major > last || major == last && minor > rule.minor {
		hint = "this program is too old for it"
	}
	return fmt.Errorf("the manager of %s (%s) has version %s, known are %s: %s", rule.kind, name, version, strings.Join(known, " and "), hint)
}

func parseVersion(s string) (major, minor int, ok bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return 0, 0, false
	}
	n := make([]int, 3)
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 10, 31)
		if err != nil {
			return 0, 0, false
		}
		n[i] = int(v)
	}
	return n[0], n[1], true
}

// explain adds what it means, or what to do, where a database's own words do not tell.
func explain(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code {
		case "42501":
			return fmt.Errorf("%w (ask for SELECT on the registry's schema)", err)
		case "42P01", "42703", "42883": // undefined table, column, function or operator
			return unsupportedRegistry(err)
		}
		return err
	}
	if lite, ok := errors.AsType[*sqlite.Error](err); ok {
		switch {
		case lite.Code()&0xff == sqlite3.SQLITE_BUSY || lite.Code()&0xff == sqlite3.SQLITE_LOCKED:
			return fmt.Errorf("another program was writing to the registry and did not end within %v, try again when it has", sqliteBusyTimeout)
		case lite.Code() == sqlite3.SQLITE_READONLY_ROLLBACK:
			return fmt.Errorf("a program that was writing to the registry has ended in the middle and left its journal (…-journal): let SQLite or Butler open the repository for writing once, which rolls back what it had begun: %w", err)
		case lite.Code()&0xff == sqlite3.SQLITE_CANTOPEN:
			return fmt.Errorf("%w (if a program was writing to it, try again)", err)
		case strings.Contains(lite.Error(), "no such table") || strings.Contains(lite.Error(), "no such column"):
			return unsupportedRegistry(err)
		}
	}
	return err
}

func unsupportedRegistry(err error) error {
	return fmt.Errorf("unsupported registry, it lacks what the versions of its managers promise (half made or migrated, or damaged): %w", err)
}

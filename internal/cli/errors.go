package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"github.com/jackc/pgx/v5/pgconn"

	"fast-export/chunker"
	"fast-export/copier"
	"fast-export/internal/export"
	"fast-export/parquetw"
	"fast-export/snapshot"
	"fast-export/typemap"
)

// verdict is what becomes of an error: the exit code, and at most three lines for people.
type verdict struct {
	code    int
	message string
	excerpt []string // a line of the query, and a caret below it
	hint    string
}

// exitCode is the code that an error ends the program with.
func exitCode(err error) int { return judge(err).code }

// describe tells people what went wrong, in at most three lines: what and which, the place in the query, what to do. Where many exports
// were asked for it is a line for each that can't be done.
func describe(err error) []string {
	// Of many exports all that is wrong is told, a line each.
	if e, ok := errors.AsType[*batchError](err); ok {
		return append([]string{"error: " + e.headline()}, e.lines()...)
	}
	if failed := findAll[*export.JobError](err); len(failed) > 1 {
		lines := []string{fmt.Sprintf("error: %d exports can't be done, and nothing was exported", len(failed))}
		for _, f := range failed {
			lines = append(lines, oneLine(f.Out+": "+reasonOf(f.Err)))
		}
		return lines
	}
	v := judge(err)
	if _, ok := errors.AsType[*unhinted](err); ok {
		v.hint = ""
	}
	message := "error: " + oneLine(v.message)
	if failed := findAll[*export.JobError](err); len(failed) == 1 {
		message = "error: " + oneLine(failed[0].Out+": "+judge(failed[0].Err).message)
	}
	if len(v.excerpt) > 0 {
		if v.hint != "" {
			message += " (" + oneLine(v.hint) + ")"
		}
		return append([]string{message}, v.excerpt...)
	}
	if v.hint != "" {
		return []string{message, "hint: " + oneLine(v.hint)}
	}
	return []string{message}
}

// maxMessage is the longest message shown, in bytes: a query of a megabyte must not fill the terminal.
const maxMessage = 600

// excerptWidth is how much of a line of a query is shown.
const excerptWidth = 100

// firstWords is the beginning of a query, in one line.
func firstWords(query string) string {
	words := strings.Join(strings.Fields(query[:min(len(query), maxMessage)]), " ")
	if r := []rune(strings.ToValidUTF8(words, "")); len(r) > excerptWidth {
		return oneLine(string(r[:excerptWidth-1]) + "…")
	}
	return oneLine(strings.ToValidUTF8(words, ""))
}

// oneLine keeps a message, which may hold names and values from a database, from breaking its line or steering the
// terminal.
func oneLine(s string) string {
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "…"
	}
	return strings.Join(strings.FieldsFunc(s, unicode.IsControl), " ")
}

// hinted is an error of this package with its code and a hint.
type hinted struct {
	error
	code int
	hint string
}

func (e *hinted) Unwrap() error { return e.error }

// unhinted is an error of a run that is to print its error alone.
type unhinted struct{ error }

func (e *unhinted) Unwrap() error { return e.error }

// statementError is a query that is wrong before anyone has read it.
type statementError struct{ msg string }

func (e *statementError) Error() string { return e.msg }

// judge turns an error into its verdict. What is more particular comes first: a lost snapshot is an ended connection too.
func judge(err error) verdict {
	if i, ok := errors.AsType[Interrupted](err); ok {
		return verdict{code: map[syscall.Signal]int{syscall.SIGHUP: codeHangup, syscall.SIGTERM: codeTerminate}[i.Signal], message: i.Error()}.or(codeInterrupt)
	}
	v := verdict{code: codeFailed, message: message(err)}
	pg, fromServer := errors.AsType[*pgconn.PgError](err)
	if fromServer {
		v.code = codeOfState(pg.Code)
		v.hint = hintOfState(pg)
	}
	if e, ok := errors.AsType[*batchError](err); ok {
		return verdict{code: e.code(), message: e.headline()}
	}
	if failed := findAll[*export.JobError](err); len(failed) > 1 {
		codes := make([]int, len(failed))
		for i, f := range failed {
			codes[i] = exitCode(f.Err)
		}
		return verdict{code: sharedCode(codes), message: v.message}
	}
	if u, ok := errors.AsType[*usageError](err); ok {
		return verdict{code: codeUsage, message: u.msg, hint: u.hint}
	}
	if e, ok := errors.AsType[*connError](err); ok {
		return verdict{code: codeConnect, message: e.msg, hint: e.hint}
	}
	if e, ok := errors.AsType[*statementError](err); ok {
		return verdict{code: codeStatement, message: e.msg, hint: "one SELECT, WITH, VALUES or TABLE is wanted"}
	}

	if e, ok := errors.AsType[*hinted](err); ok {
		return verdict{code: e.code, message: e.Error(), hint: e.hint}
	}
	if e, ok := errors.AsType[*export.SchemaError](err); ok {
		return verdict{code: codeRelation, message: e.Reason, hint: e.Hint}
	}
	if e, ok := errors.AsType[*export.DocumentError](err); ok {
		return verdict{code: codeTarget, message: "--" + e.Error(), hint: spaceHint(e.Err, "")}
	}
	if e, ok := errors.AsType[*export.ConfigError](err); ok {
		return verdict{code: codeUsage, message: e.Reason}
	}
	if _, ok := errors.AsType[*export.CommonColumnError](err); ok {
		return verdict{code: codeUsage, message: v.message}
	}
	if e, ok := errors.AsType[*export.PartialError](err); ok {
		v := verdict{code: codeSome, message: fmt.Sprintf("%d of %d exports failed, the others are done", e.Failed, e.Total)} // runAndTell has told why
		if e.Failed == e.Total {
			v.message = fmt.Sprintf("all %d exports failed", e.Total)
		}
		return v
	}

	// The snapshot.
	if errors.Is(err, snapshot.ErrLost) {
		v.code, v.hint = codeSnapshot, "its rows can't be read any more: start again"
		return v
	}
	if e, ok := errors.AsType[*snapshot.ImportError](err); ok {
		v.code, v.message, v.hint = codeSnapshot, e.Error(), "the transaction that exported it must be open still, in the same database of the same server"
		return v
	}
	if _, ok := errors.AsType[*snapshot.ChangedError](err); ok {
		v.code, v.hint = codeSnapshot, "start again: a new snapshot sees it as it is now"
		return v
	}
	if _, ok := errors.AsType[*snapshot.SettingError](err); ok {
		v.code, v.hint = codeStatement, "leave out the function that calls set_config or SET"
		return v
	}
	if e, ok := errors.AsType[*snapshot.SlotError](err); ok {
		v.code, v.hint = codeSnapshot, ""
		if len(e.Waiting) > 0 {
			v.hint = "end these transactions, or wait longer by --slot-timeout"
		}
		return v
	}
	if e, ok := errors.AsType[*snapshot.LockError](err); ok {
		v.code, v.message, v.hint = codeStatement, e.Error(), "end what is in the way, or wait longer by --lock-timeout"
		return v
	}

	// What is wrong with a registry's server is told in Butler's words: its commands have no connection flags.
	if v, ok := butlerVerdict(err); ok {
		return v
	}

	// The connection.
	if _, ok := errors.AsType[*snapshot.NotPostgresError](err); ok {
		v.code = codeConnect
		return v
	}
	if _, ok := errors.AsType[*snapshot.MismatchError](err); ok {
		v.code, v.hint = codeConnect, "connect to one server directly"
		return v
	}
	if e, ok := errors.AsType[*snapshot.ProtocolError](err); ok {
		return verdict{code: codeConnect, message: "can't connect: " + e.Error(), hint: "are --host and --port right? PostgreSQL listens on port 5432 unless it is told otherwise"}
	}
	if tries := findAll[*pgconn.ConnectError](err); len(tries) > 0 {
		return connectVerdict(tries)
	}
	if e, ok := errors.AsType[*snapshot.ConnectError](err); ok {
		return verdict{code: codeConnect, message: e.Error(), hint: "start again"}
	}

	// The statement and its relations.
	if e, ok := errors.AsType[*chunker.StatementError](err); ok {
		if !fromServer || v.code != codeRelation && v.code != codeValue {
			v.code = codeStatement
		}
		v.message, v.hint = e.Reason, cmp.Or(e.Hint, v.hint)
		line, column := e.Excerpt(excerptWidth)
		switch {
		case line != "":
			v.excerpt = []string{"  " + line, "  " + strings.Repeat(" ", column) + "^"}
		case e.Field == chunker.FieldSQL || e.Field == chunker.FieldWhere:
			// No place is known: the beginning tells which it was.
			if text := firstWords(e.Text); text != "" {
				v.excerpt = []string{"  " + text}
			}
		}
		return v
	}
	if e, ok := errors.AsType[*chunker.NotFoundError](err); ok {
		return verdict{code: codeRelation, message: e.Error(), hint: e.Hint}
	}
	if e, ok := errors.AsType[*chunker.PermissionError](err); ok {
		v.code = codeRelation
		if e.Hint != "" {
			v.hint = e.Hint
		}
		return v
	}
	if e, ok := errors.AsType[*chunker.RowSecurityError](err); ok {
		return verdict{code: codeRelation, message: e.Error(), hint: e.Hint}
	}
	if e, ok := errors.AsType[*chunker.UnsupportedRelationError](err); ok {
		return verdict{code: codeRelation, message: e.Error(), hint: e.Hint}
	}
	if e, ok := errors.AsType[*chunker.NameError](err); ok {
		return verdict{code: codeValue, message: e.Error(), hint: "--columns names those to export, a query can give it another name"}
	}
	if e, ok := errors.AsType[*chunker.ChangedError](err); ok {
		return verdict{code: codeSnapshot, message: e.Error(), hint: "start again"}
	}

	if _, ok := errors.AsType[*export.SnapshotAgeError](err); ok {
		return verdict{code: codeSnapshot, message: err.Error(), hint: "a larger --max-snapshot-age or --parallel, or a smaller part at a time"}
	}
	if _, ok := errors.AsType[*export.YieldError](err); ok {
		return verdict{code: codeSnapshot, message: err.Error(), hint: "start again when it is done"}
	}

	// Values and types.
	if e, ok := errors.AsType[*export.ServerError](err); ok {
		return verdict{code: codeValue, message: e.Error(), hint: e.Hint}
	}
	if e, ok := errors.AsType[*export.RowGroupsError](err); ok {
		return verdict{code: codeValue, message: e.Error(), hint: "a larger --row-group-size makes fewer"}
	}
	if e, ok := errors.AsType[*typemap.ValueError](err); ok {
		v.code, v.hint = codeValue, e.Hint
		return v
	}
	if _, ok := errors.AsType[*typemap.NoColumnError](err); ok {
		v.code, v.hint = codeRelation, `names are as SQL writes them: "Mixed Case" in double quotes, which the shell must leave alone`
		return v
	}
	if e, ok := errors.AsType[*typemap.UnsupportedError](err); ok {
		v.code, v.hint = codeValue, e.Hint
		return v
	}
	if _, ok := errors.AsType[*typemap.StreamError](err); ok {
		v.code = codeValue
		return v
	}
	if _, ok := errors.AsType[*parquetw.ValueError](err); ok {
		v.code = codeValue
		return v
	}
	if e, ok := errors.AsType[*parquetw.ColumnError](err); ok {
		v.code = codeValue
		if e.Type == "" {
			v.code = codeRelation // there is no such column
		}
		return v
	}
	if _, ok := errors.AsType[*parquetw.SortError](err); ok {
		v.code, v.hint = codeValue, `leave out --sorted-by, or sort the rows by a query: ORDER BY …, text COLLATE "C"`
		return v
	}

	// Files.
	if e, ok := errors.AsType[*copier.TempError](err); ok {
		v.code, v.hint = codeTarget, spaceHint(e.Err, "--temp-dir puts temporary files elsewhere, --temp-limit bounds them")
		return v
	}
	if e, ok := errors.AsType[*parquetw.ExistsError](err); ok {
		v.code, v.message, v.hint = codeTarget, e.Error(), e.Hint
		if info, err := os.Lstat(e.Path); err == nil && info.Mode().IsRegular() {
			v.hint = "give another --out, or --overwrite to replace it"
			if e.Hint == "" { // --no-clobber
				v.hint = "give another --out; without --no-clobber it would be replaced"
			}
		}
		return v
	}
	if e, ok := errors.AsType[*parquetw.FileError](err); ok {
		v.code, v.message, v.hint = codeTarget, e.Error(), spaceHint(e.Err, "")
		if e.Op == "write in directory" && errors.Is(e.Err, fs.ErrNotExist) { // as /proc says, which is there
			v.hint = "no file can be made there: give another --out"
		}
		return v
	}
	if errors.Is(err, copier.ErrDiverged) {
		v.code, v.hint = codeVerify, "the statement does not give the same rows twice: export it as a table, or without volatile functions"
		return v
	}
	if fileError(err) {
		v.code, v.hint = codeTarget, spaceHint(err, "")
		return v
	}
	if errors.Is(err, context.Canceled) && !fromServer {
		v.message = "cancelled"
	}
	return v
}

// or gives a verdict without a code this one.
func (v verdict) or(code int) verdict {
	if v.code == 0 {
		v.code = code
	}
	return v
}

// message is err's text with what pgx writes around the server's words taken off.
func message(err error) string {
	text := err.Error()
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		text = strings.Replace(text, pg.Error(), pg.Message+" (SQLSTATE "+pg.Code+")", 1)
	}
	return text
}

// codeOfState sorts what a server raised. Source: the manual's appendix "PostgreSQL Error Codes".
func codeOfState(state string) int {
	switch state {
	case "42P01", "42703", "3F000", "42501": // undefined table, column, schema; insufficient privilege
		return codeRelation
	case "22021", "22P05": // character not in repertoire, untranslatable character
		return codeValue
	case "3D000", "53300", "57P03": // no such database, too many connections, starting up
		return codeConnect
	}
	if strings.HasPrefix(state, "28") || strings.HasPrefix(state, "08") { // authorization, connection exception
		return codeConnect
	}
	return codeStatement
}

// hintOfState is the server's own hint, or one of ours where it has none.
func hintOfState(pg *pgconn.PgError) string {
	switch {
	case pg.Code == "42501" && pg.Routine == "check_enable_rls":
		return "--enable-row-security exports the rows that the policies let this user see"
	case pg.Hint != "":
		return pg.Hint
	}
	switch pg.Code {
	case "22021", "22P05":
		return "a value, or the name of a column or a type, holds bytes that are no text in the database's encoding"
	case "22012":
		return "NULLIF(divisor, 0) gives NULL where the divisor is 0"
	case "42P01":
		return `names are as SQL writes them: schema.table, and "Mixed Case" in double quotes`
	case "42501":
		return "the user needs SELECT on it, and USAGE on its schema"
	case "28P01":
		return "--password, PGPASSWORD, or a line of ~/.pgpass that fits host, port, database and user"
	case "28000":
		return "the server's pg_hba.conf decides who may connect from where, and how"
	case "3D000":
		return "psql -l lists the server's databases"
	case "53300":
		return "a smaller --parallel needs fewer connections"
	case "55P03":
		return "another session holds it: wait longer by --lock-timeout"
	case "57014":
		return "the server, or someone on it, cancelled the statement"
	}
	return pg.Detail
}

// connectVerdict tells where each attempt failed, each reason once.
func connectVerdict(tries []*pgconn.ConnectError) verdict {
	v := verdict{code: codeConnect}
	// With sslmode=prefer a host is tried with and without TLS: where the server has answered, its answer is what counts.
	answered := map[string]bool{}
	place := func(t *pgconn.ConnectError) string {
		if strings.HasPrefix(t.Config.Host, "/") {
			_, path := pgconn.NetworkAddress(t.Config.Host, t.Config.Port)
			return path
		}
		return addr(t.Config.Host, t.Config.Port)
	}
	for _, t := range tries {
		if _, ok := errors.AsType[*pgconn.PgError](t); ok {
			answered[place(t)] = true
		}
	}
	var reasons []string
	for _, t := range tries {
		if _, ok := errors.AsType[*pgconn.PgError](t); !ok && answered[place(t)] {
			continue
		}
		if r := place(t) + ": " + connectReason(t); !slices.Contains(reasons, r) {
			reasons = append(reasons, r)
		}
		if v.hint == "" {
			v.hint = connectHint(t)
		}
	}
	cfg := tries[0].Config
	v.message = "can't connect as user " + cfg.User
	if cfg.Database != "" {
		v.message += " to database " + cfg.Database
	}
	v.message += ": " + strings.Join(reasons, "; ")
	// What is no keyword of libpq's goes to the server as a setting.
	if pg, ok := errors.AsType[*pgconn.PgError](tries[len(tries)-1]); ok && (pg.Code == "42704" || pg.Code == "22023") {
		v.code, v.hint = codeUsage, "the connection's parameters are libpq's, or settings that the server knows"
	}
	return v
}

func addr(host string, port uint16) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }

func connectReason(t *pgconn.ConnectError) string {
	if pg, ok := errors.AsType[*pgconn.PgError](t); ok {
		return pg.Message
	}
	if dns, ok := errors.AsType[*net.DNSError](t); ok {
		return dns.Err
	}
	if op, ok := errors.AsType[*net.OpError](t); ok {
		return op.Err.Error()
	}
	text := t.Unwrap().Error()
	if i := strings.Index(text, "): "); i >= 0 { // what stands before is the address, which the caller names
		text = text[i+3:]
	}
	if why := certificateReason(t); why != "" {
		return why
	}
	if _, why, ok := strings.Cut(text, unsuitable); ok {
		return "target_session_attrs asks for another server: " + why
	}
	return strings.TrimPrefix(text, "failed to write startup message: write failed: ")
}

// unsuitable is how pgconn begins what target_session_attrs does not let pass.
const unsuitable = "ValidateConnect failed: "

// certificateReason tells what is wrong with the server's certificate, "" where nothing is.
func certificateReason(err error) string {
	var cause error
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		cause = e
	} else if e, ok := errors.AsType[x509.HostnameError](err); ok {
		cause = e
	} else if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		cause = e
	} else if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		cause = e.Err
	} else {
		return ""
	}
	return "the server's certificate does not hold: " + strings.TrimPrefix(cause.Error(), "x509: ")
}

func connectHint(t *pgconn.ConnectError) string {
	pg, fromServer := errors.AsType[*pgconn.PgError](t)
	switch {
	case fromServer && pg.Code == "28P01" && t.Config.Password == "":
		return "no password was given: --password, PGPASSWORD, or a line of ~/.pgpass that fits host, port, database and user"
	case fromServer:
		return hintOfState(pg)
	case errors.Is(t, syscall.ECONNREFUSED), errors.Is(t, fs.ErrNotExist):
		return "is the server running there, and are --host and --port right?"
	case errors.Is(t, os.ErrDeadlineExceeded), errors.Is(t, context.DeadlineExceeded):
		return "the server did not answer in time: connect_timeout says how long to wait"
	}
	if _, ok := errors.AsType[*net.DNSError](t); ok {
		return "is --host right?"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](t); ok {
		return "sslrootcert names the file with the certificate of the authority that signed it; sslrootcert=system means those that this machine trusts"
	}
	if _, ok := errors.AsType[x509.HostnameError](t); ok {
		return "--host must be a name in the certificate; sslmode=verify-ca does not compare names"
	}
	if strings.Contains(t.Error(), unsuitable) {
		return "name several hosts, so that one of them suits, or leave target_session_attrs out"
	}
	return ""
}

// fileError tells whether the file system is to blame.
func fileError(err error) bool {
	for _, no := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EFBIG, syscall.EIO} {
		if errors.Is(err, no) {
			return true
		}
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return true
	}
	_, ok := errors.AsType[*os.LinkError](err)
	return ok
}

func spaceHint(err error, otherwise string) string {
	switch {
	case errors.Is(err, parquetw.ErrTempLimit):
		return "raise --temp-limit or --memory, or make row groups smaller (--row-group-size): all pages of an open one must be somewhere"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free some space, or choose another place by --out and --temp-dir"
	case errors.Is(err, fs.ErrPermission):
		return "may this user write there?"
	case errors.Is(err, fs.ErrNotExist):
		return "directories are never made: mkdir -p makes one"
	}
	return otherwise
}

// findAll returns every error of a type in err's tree, in order.
func findAll[T error](err error) []T {
	if err == nil {
		return nil
	}
	if t, ok := err.(T); ok {
		return []T{t}
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		return findAll[T](u.Unwrap())
	case interface{ Unwrap() []error }:
		var all []T
		for _, e := range u.Unwrap() {
			all = append(all, findAll[T](e)...)
		}
		return all
	}
	return nil
}

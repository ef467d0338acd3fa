package cli

// The exit codes. They are part of what people script against: a changed one is a breaking change.
const (
	codeDone      = 0
	codeFailed    = 1
	codeSome      = 3
	codeConnect   = 10
	codeSnapshot  = 11
	codeValue     = 12
	codeTarget    = 13
	codeVerify    = 14
	codeStatement = 15
	codeRelation  = 16
	codeButler    = 17
	codeUsage     = 64
	codeHangup    = 129
	codeInterrupt = 130
	codeTerminate = 143
)

// exitCodes is the table that --help and docs/exit-codes.md show.
var exitCodes = []struct {
	code    int
	meaning string // for --help
	detail  string // more, for the document
}{
	{codeDone, "done", "Every file stands under its name, whole and synced."},
	{codeFailed, "another failure", "What none of the codes below says: a worker's bug, a lost standard output."},
	{codeSome, "finished, but some of several files failed", "The others stand; where all of several failed the code is this one too, and none does. Each failure is a line on standard error."},
	{codeConnect, "can't connect or authenticate", "A service, host or database that is not there, a certificate that does not hold, a wrong password, too many connections, a server that is no Postgres, or that does not answer in time (connect_timeout)."},
	{codeSnapshot, "no snapshot, or it was lost", "The snapshot given can't be adopted, the slot can't be made, a table was rewritten between snapshot and lock, or no connection was left inside the snapshot."},
	{codeValue, "a value, type or schema that can't be represented", "The message names column, row and value, and the option that lets it pass."},
	{codeTarget, "output or temp space: it exists, is full or can't be written", "Checked before anything is read wherever it can be."},
	{codeVerify, "what was read twice differs", "A chunk that was copied again after a lost connection did not begin as it had before; or the runs of a bench read other rows, so that nothing can be told from them."},
	{codeStatement, "the statement: not one that only gives rows, or the server refused or failed it", "Syntax errors, several statements, DML, a lock that was not given in time, and whatever the server raised while it ran."},
	{codeRelation, "no such relation or column, or no permission", "Grants and row security included."},
	{codeButler, "a Butler repository, collection or dataset can't be read", "A registry of an unknown kind or version, a name that is not there, a dataset that is gone, damaged or of another schema than the others: [butler.md](butler.md)."},
	{codeUsage, "usage: flags, arguments, configuration", "Settings of a connection that can't be, files that they name included. Nothing was connected to, save to tell what is wrong in a batch file together with what the server says of it."},
	{codeHangup, "stopped by SIGHUP", "As below."},
	{codeInterrupt, "stopped by SIGINT (Ctrl-C)", "The server's COPYs are cancelled and nothing is left behind; a second signal, 0.3 s after the first or later, kills at once."},
	{codeTerminate, "stopped by SIGTERM", "As above."},
}

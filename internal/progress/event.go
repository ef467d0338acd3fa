package progress

// Reporter takes a run's events. Report is called from many goroutines, must not block, and sees events in order only
// within one chunk.
type Reporter interface{ Report(Event) }

// Event is one of the types below.
type Event interface{ event() }

// Plan says what lies ahead. It is sent once, before the first Advance; sent again, it replaces the earlier one, and rows, chunks and heap
// bytes are counted anew: nothing stays of an attempt that was given up.
type Plan struct {
	Files, Chunks int
	EstRows       int64 // 0: unknown
	EstBytes      int64 // heap and TOAST bytes that the scans will read; 0: unknown
	// Unit is what EstBytes and Advance.HeapBytes count in place of bytes, such as "datasets"; "": bytes.
	Unit string
}

// Advance is what was done since the sender's last Advance: increments, sent once a batch or a chunk.
type Advance struct {
	Rows      int64 // rows that arrived
	CopyBytes int64 // bytes that the server sent
	HeapBytes int64 // bytes of heap and TOAST done with, of Plan.EstBytes
}

// ChunkDone says that a chunk has arrived whole.
type ChunkDone struct {
	File  string
	Chunk int
	Rows  int64
}

// FileDone says that a file stands under its name.
type FileDone struct {
	Path                   string
	Rows, Bytes, RowGroups int64
}

// Phase says what the run is busy with from now on: "connecting", "looking up tables", "waiting for locks", "planning",
// "copying", "writing".
type Phase struct{ Name string }

// Warning is something to know although the run goes on: a sentence without "warning:" before it.
type Warning struct{ Text string }

func (Plan) event()      {}
func (Advance) event()   {}
func (ChunkDone) event() {}
func (FileDone) event()  {}
func (Phase) event()     {}
func (Warning) event()   {}

// Silent returns a Reporter that shows nothing, warnings neither.
func Silent() Reporter { return silent{} }

type silent struct{}

func (silent) Report(Event) {}

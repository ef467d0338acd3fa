package bench

import "time"

// Version is the version of the report's form. Fields are added without a new one.
const Version = 1

// Report is what a bench found out. docs/bench.schema.json is made of these structs: the doc tags are its descriptions.
type Report struct {
	Version        int            `json:"bench_version" doc:"1; fields are added without a new number"`
	FastExport     string         `json:"fast_export_version" doc:"the program's version"`
	Commit         string         `json:"commit,omitempty" doc:"that the program was built from; absent where it does not know"`
	Go             string         `json:"go" doc:"the Go release that the program was built with"`
	Started        time.Time      `json:"started" doc:"when the bench began"`
	Elapsed        float64        `json:"elapsed_seconds" doc:"how long it took"`
	Machine        Machine        `json:"machine" doc:"where fast-export ran"`
	Server         Server         `json:"server" doc:"whom it asked"`
	Source         Source         `json:"source" doc:"what was exported"`
	Sample         Sample         `json:"sample" doc:"the part of it that every run read"`
	Rounds         int            `json:"rounds" doc:"how often each run was done, in an order of its own each time"`
	Seed           int64          `json:"seed" doc:"that the orders come from"`
	Cache          string         `json:"cache" doc:"warm: the sample was read once before"`
	Base           Setting        `json:"base" doc:"the settings around which one at a time was changed"`
	Series         []Series       `json:"series" doc:"one a kind of run and setting"`
	Factors        []Factor       `json:"factors" doc:"one a setting that was swept"`
	Bottleneck     Bottleneck     `json:"bottleneck" doc:"what an export with the recommended settings waits for"`
	Recommendation Recommendation `json:"recommendation" doc:"what to set"`
	Warnings       []string       `json:"warnings" doc:"what to know about the figures"`
}

// Machine is where fast-export ran.
type Machine struct {
	OS    string `json:"os" doc:"as Go names it"`
	Arch  string `json:"arch" doc:"as Go names it"`
	Cores int    `json:"cores" doc:"that the program may use"`
}

// Server is the server of a Report.
type Server struct {
	Version string `json:"version" doc:"server_version"`
	Local   bool   `json:"local" doc:"true where its processes were seen on this machine, and their CPU time with them"`
	Buffers int64  `json:"shared_buffers_bytes" doc:"of the server"`
}

// Source is what was exported.
type Source struct {
	Name       string   `json:"name" doc:"the qualified relation, or the statement in one line"`
	Selected   []string `json:"selected,omitempty" doc:"--columns; absent: all of a relation, or a statement's own"`
	Where      string   `json:"where,omitempty" doc:"--where; absent: all rows"`
	Options    string   `json:"options,omitempty" doc:"flags of types and encodings; absent: the defaults"`
	Kind       string   `json:"kind" doc:"table, view, statement, …"`
	Columns    int      `json:"columns" doc:"of the result"`
	Pages      int64    `json:"pages" doc:"of the whole; 0 where it has no size"`
	HeapBytes  int64    `json:"heap_bytes" doc:"of the whole"`
	ToastBytes int64    `json:"toast_bytes" doc:"of the whole"`
	EstRows    int64    `json:"estimated_rows" doc:"of the whole, by the server's statistics"`
	Split      string   `json:"split" doc:"how the sample is cut with the base settings, or why it is not"`
}

// Sample is the part of the source that every run read.
type Sample struct {
	Part  float64 `json:"part" doc:"of the blocks, from the first on; 1: all of it"`
	Pages int64   `json:"pages" doc:"that it has"`
	Bytes int64   `json:"heap_bytes" doc:"of heap and TOAST that it has"`
	Rows  int64   `json:"rows" doc:"that came out"`
}

// Setting is one set of what is swept.
type Setting struct {
	Parallel     int    `json:"parallel" doc:"--parallel: connections that copy"`
	Transport    string `json:"transport" doc:"--transport: csv or binary"`
	ChunkBytes   int64  `json:"chunk_bytes" doc:"--chunk-size: heap and TOAST bytes of a chunk; 0: chosen by the program"`
	Compression  string `json:"compression" doc:"--compression: codec and level"`
	RowGroupRows int64  `json:"row_group_rows" doc:"--row-group-size: rows of a row group"`
}

// The kinds of runs.
const (
	KindExport = "export"
	KindFloor  = "floor"
	KindDecode = "decode"
	KindEncode = "encode"
	KindWrite  = "write"
)

// Series are the runs of one kind with one setting.
type Series struct {
	Kind      string  `json:"kind" doc:"export; floor: COPY thrown away; decode: bytes in memory to batches, one core; encode: batches in memory to a file, all cores; write: the output's bytes written and synced"`
	Confirms  bool    `json:"confirms,omitempty" doc:"true for runs of the rounds after the sweep, which confirm what it found"`
	Setting   Setting `json:"setting" doc:"of the runs; what has no bearing on their kind is that of the base"`
	Workers   int     `json:"connections" doc:"that copied; fewer than parallel where there were fewer chunks; 0 where none did"`
	Rows      int64   `json:"rows" doc:"that a run dealt with; decode and encode take a part of the sample that fits memory; 0 for write"`
	Wall      Spread  `json:"wall_seconds" doc:"of a run: for export and floor from before the first connection to after the last"`
	RowRate   Spread  `json:"rows_per_second" doc:"rows by wall time; 0 for write"`
	HeapRate  Spread  `json:"heap_bytes_per_second" doc:"the sample's heap and TOAST bytes by wall time; 0 for others than export and floor"`
	ClientCPU Spread  `json:"client_cpu_seconds" doc:"user and system time of fast-export"`
	ServerCPU Spread  `json:"server_cpu_seconds" doc:"user and system time of the server's processes for it; 0 where they are not visible"`
	Peak      Spread  `json:"peak_memory_bytes" doc:"the largest resident set of fast-export"`
	Output    int64   `json:"output_bytes" doc:"of the file; 0 for floor and decode"`
	Copied    int64   `json:"copy_bytes" doc:"that came from the server, or from memory; 0 for encode and write"`
	Temp      int64   `json:"temp_bytes" doc:"the most that temporary files took"`
	Waits     Waits   `json:"waits" doc:"what the server's processes were seen at, over all runs"`
	Runs      []Round `json:"runs" doc:"each run"`
}

// Spread is a figure over the rounds.
type Spread struct {
	Median float64 `json:"median" doc:"of the rounds"`
	Low    float64 `json:"low" doc:"the lowest"`
	High   float64 `json:"high" doc:"the highest"`
}

// Round is one run.
type Round struct {
	Round     int     `json:"round" doc:"from 1"`
	Order     int     `json:"order" doc:"its place in the round, from 1"`
	Wall      float64 `json:"wall_seconds" doc:"as in the series"`
	ClientCPU float64 `json:"client_cpu_seconds" doc:"as in the series"`
	ServerCPU float64 `json:"server_cpu_seconds" doc:"as in the series"`
	Peak      int64   `json:"peak_memory_bytes" doc:"as in the series"`
}

// Waits count what the server's copying processes were at when they were looked at, every 50 ms.
type Waits struct {
	Running int `json:"running" doc:"waiting for nothing"`
	Sending int `json:"sending" doc:"waiting until this side takes more (ClientWrite)"`
	Reading int `json:"reading" doc:"waiting for the disk (any IO event)"`
	Other   int `json:"other" doc:"waiting for locks and the like"`
	Idle    int `json:"idle" doc:"between two chunks, or after the last one"`
}

// Factor is what became of one swept setting.
type Factor struct {
	Flag   string        `json:"flag" doc:"the flag, without its dashes"`
	Values []FactorValue `json:"values" doc:"each value that was tried"`
	Best   string        `json:"best" doc:"the value that did best: the base's unless another was better by 3 %; of --parallel the smallest within 3 % of the best"`
}

// FactorValue is one value of a Factor. Ratios are medians of the rounds' own ratios to the base's run in the same round.
type FactorValue struct {
	Value string  `json:"value" doc:"as the flag takes it"`
	Wall  float64 `json:"wall_ratio" doc:"of the base's wall time"`
	Size  float64 `json:"size_ratio" doc:"of the base's file size"`
	Score float64 `json:"score" doc:"both multiplied, by which values are compared; less is better"`
}

// Bottleneck says what an export with the recommended settings waits for. A share is of the time, from 0 to about 1.
type Bottleneck struct {
	Name    string   `json:"name" doc:"server, network, client or disk; or 'server or network' where neither can be looked at"`
	Server  float64  `json:"server_share,omitempty" doc:"how busy the server's processes were; absent where it is not known"`
	Network float64  `json:"network_share,omitempty" doc:"how long they waited, for the network or the next chunk, where the client throws all away; absent by a socket of this machine and where it is not known"`
	Client  float64  `json:"client_share" doc:"how busy fast-export kept this machine's cores"`
	Disk    float64  `json:"disk_share,omitempty" doc:"how long the disk takes: the server's reads, or writing the output here, whichever is more"`
	Cores   float64  `json:"cores_share,omitempty" doc:"how busy both together kept this machine's cores; absent where the server is elsewhere"`
	Floor   float64  `json:"floor_share,omitempty" doc:"the wall time of the floor with the same settings as a share of the export's; absent where it was not measured"`
	Why     []string `json:"why" doc:"the reasoning, in sentences"`
}

// Recommendation is what to set.
type Recommendation struct {
	Setting   Setting  `json:"setting" doc:"what did best"`
	Flags     string   `json:"flags" doc:"as flags"`
	YAML      string   `json:"yaml" doc:"as the defaults of a batch file"`
	Confirmed bool     `json:"confirmed" doc:"true where this very combination was measured"`
	Wall      float64  `json:"wall_ratio" doc:"of the base's wall time"`
	Size      float64  `json:"size_ratio" doc:"of the base's file size"`
	Why       []string `json:"why" doc:"sentences"`
}

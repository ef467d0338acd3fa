package parquetw

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// Codec is a Parquet compression codec.
type Codec uint8

// The codecs that a file may be written with.
const (
	Zstd   Codec = iota // levels 1 to 22
	Snappy              // no levels
	Gzip                // levels 1 to 9
	LZ4                 // Parquet's LZ4_RAW; no levels
	None                // pages as they are
)

var codecs = [...]struct {
	name               string
	thrift             int32 // CompressionCodec of parquet.thrift
	lo, hi, whenAbsent int   // levels; hi is 0 where there are none
}{
	Zstd:   {"zstd", 6, 1, 22, 1},
	Snappy: {"snappy", 1, 0, 0, 0},
	Gzip:   {"gzip", 2, 1, 9, 6},
	LZ4:    {"lz4", 7, 0, 0, 0},
	None:   {"none", 0, 0, 0, 0},
}

// Compression is a codec and its level. The zero value is zstd at level 1.
//
// zstd levels are those of the reference implementation, mapped to the nearest of the four strengths that the Go
// encoder has: 1 and 2, 3 to 5, 6 to 9, 10 and above each give the same bytes.
type Compression struct {
	Codec Codec
	Level int // 0: the codec's default (zstd 1, gzip 6)
}

const compressionForms = "zstd[:1..22], snappy, gzip[:1..9], lz4 or none"

// ParseCompression reads "zstd", "zstd:3", "snappy", "gzip:6", "lz4" or "none". Its error says what is allowed.
func ParseCompression(s string) (Compression, error) {
	name, level, hasLevel := strings.Cut(s, ":")
	for i, c := range codecs {
		if name != c.name {
			continue
		}
		out := Compression{Codec: Codec(i), Level: c.whenAbsent}
		if !hasLevel {
			return out, nil
		}
		if c.hi == 0 {
			return Compression{}, fmt.Errorf("compression %q: %s has no levels (allowed: %s)", s, c.name, compressionForms)
		}
		n, err := strconv.Atoi(level)
		if err != nil || n < c.lo || n > c.hi {
			return Compression{}, fmt.Errorf("compression %q: the level of %s is a number from %d to %d", s, c.name, c.lo, c.hi)
		}
		out.Level = n
		return out, nil
	}
	return Compression{}, fmt.Errorf("compression %q is none of %s", s, compressionForms)
}

// String is the form that ParseCompression reads.
func (c Compression) String() string {
	c, err := c.withDefaults()
	if err != nil {
		return fmt.Sprintf("Compression(%d:%d)", c.Codec, c.Level)
	}
	if codecs[c.Codec].hi == 0 {
		return codecs[c.Codec].name
	}
	return codecs[c.Codec].name + ":" + strconv.Itoa(c.Level)
}

func (c Compression) withDefaults() (Compression, error) {
	if int(c.Codec) >= len(codecs) {
		return c, fmt.Errorf("compression codec %d does not exist", c.Codec)
	}
	k := codecs[c.Codec]
	if c.Level == 0 {
		c.Level = k.whenAbsent
	}
	if c.Level < k.lo || c.Level > k.hi {
		return c, fmt.Errorf("compression %s has no level %d", k.name, c.Level)
	}
	return c, nil
}

// Encoding is how the values of a leaf are laid out in its pages.
type Encoding uint8

// The encodings that a leaf may be given. Auto decides for each row group, from its first page and from Options.Priors.
const (
	Auto            Encoding = iota
	Plain                    // values one behind the other
	Dictionary               // indices into the row group's values; Plain from where the dictionary would grow too large
	ByteStreamSplit          // floats: first bytes together, second bytes together, …
	Delta                    // integers: packed differences to the value before; text and bytes: packed lengths, then the bytes, perhaps less what each shares with the beginning of the one before
)

var encodingNames = [...]string{"auto", "plain", "dictionary", "byte_stream_split", "delta"}

func (e Encoding) String() string {
	if int(e) < len(encodingNames) {
		return encodingNames[e]
	}
	return fmt.Sprintf("Encoding(%d)", uint8(e))
}

// ParseEncoding reads the form that String gives, for example "byte_stream_split". Its error says what is allowed.
func ParseEncoding(s string) (Encoding, error) {
	for i, name := range encodingNames {
		if s == name {
			return Encoding(i), nil
		}
	}
	return Auto, fmt.Errorf("encoding %q is none of %s", s, strings.Join(encodingNames[:], ", "))
}

// Prior is what is believed of a flat leaf's values before they come. It decides nothing but what Auto chooses where the
// first page of a row group alone would mislead, and only as long as the values do not contradict it.
type Prior struct {
	Distinct float64 // distinct values: a number, or below 0, minus their share of the values; 0: nothing is believed
	Present  float64 // share of the rows that have a value, 0 to 1
	Bytes    float64 // mean length of a byte array
}

// Overwrite says what may be replaced by a new file.
type Overwrite uint8

const (
	ReplaceParquet Overwrite = iota // an existing regular Parquet file; nothing else
	ReplaceAny                      // any existing regular file
	NoClobber                       // nothing
)

// KeyValue is one entry of a file's key-value metadata.
type KeyValue struct{ Key, Value string }

// Options says what a file is. Schema and Pool must be given; the zero value of everything else is a sensible default.
type Options struct {
	// Schema is what the file's readers see: it is stored whole (as "ARROW:schema") beside the Parquet schema that
	// column.FromArrow makes of it, so that types and metadata that Parquet has no words for come back in Arrow readers.
	// Its own metadata becomes the first entries of the file's key-value metadata.
	Schema *arrow.Schema
	// Metadata are further key-value entries, in order. A key that is there already gets the new value in its old place.
	Metadata []KeyValue
	// RowGroupRows is the number of rows of each row group but the last, unless RowGroupBytes or EndRowGroup cut before.
	// 0: no limit.
	RowGroupRows int64
	// RowGroupBytes ends a row group behind the row with which its values reach so many bytes, PLAIN and before
	// compression: 4 or 8 for a number, 1 for a boolean, 4 and its length for a byte array, nothing for a NULL. 0: no limit.
	RowGroupBytes int64
	Compression   Compression
	// Encodings has one entry a leaf of the Parquet schema; nil means Auto for all. LeafEncodings makes it of columns.
	Encodings []Encoding
	// Priors has one entry a leaf of the Parquet schema; nil: nothing is known before the values come.
	Priors []Prior
	// Bloom names top-level columns that get a bloom filter in each row group: integers, dates and times, text, decimals
	// and UUIDs, also the elements of a list. Floats, booleans, bytes and geometries cannot have one.
	Bloom []string
	// SortedBy names top-level columns by which the rows are said to ascend, the first one first, NULLs last. That is
	// checked over the whole file, and a row that is not in order is a *SortError. Text ascends byte by byte.
	SortedBy []string
	// Rows is about how many rows the file will have, for the size of its buffers; 0: nobody knows.
	Rows int64
	// CreatedBy is the footer's created_by; "fast-export" if empty.
	CreatedBy string
	Overwrite Overwrite
	// Hash asks for the file's SHA-256 in Result.
	Hash bool
	// Pool is where the encoding happens. It must not be closed before the Writer is committed or aborted.
	Pool *Pool

	layout layout // in place of what the schema asks for: tests want small pages
}

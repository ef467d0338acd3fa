package parquetw

import (
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/klauspost/compress/zstd"
)

// maxKept is how large a buffer may have grown to be kept for the next page.
const maxKept = 4 << 20

// scratch is what an encoder goroutine works with. Nothing in it outlives a page.
type scratch struct {
	levels   []byte
	page     []byte
	out      []byte
	trial    []byte
	prefixes []byte
	header   compact
	zstd     [4][2]*zstd.Encoder // by strength and literals; kept for the goroutine's life, which arrow-go's do not
}

func newScratch() *scratch { return &scratch{} }

func (s *scratch) close() {
	for _, pair := range s.zstd {
		for _, z := range pair {
			if z != nil {
				z.Close() // a writer without a sink has nothing to flush and cannot fail
			}
		}
	}
}

// trim lets go of buffers that a giant page has left behind.
func (s *scratch) trim() {
	for _, b := range []*[]byte{&s.levels, &s.page, &s.out, &s.trial, &s.prefixes} {
		if cap(*b) > maxKept {
			*b = nil
		}
	}
}

// zstdWindow is the farthest that a match may lie back. No page is longer, save one of a single row; the encoder's
// default would cost each goroutine 4 to 8 MiB.
const zstdWindow = 1 << 20

// compress gives src compressed, valid until the next call, or src itself for None. With literals, zstd spends time on
// stretches without matches too, which for floats takes more than it gives.
func (s *scratch) compress(c Compression, src []byte, literals bool) []byte {
	switch c.Codec {
	case None:
		return src
	case Zstd:
		s.out = s.zstdEncoder(c.Level, literals).EncodeAll(src, s.out[:0])
	default:
		codec := libraryCodecs[c.Codec]
		if n := int(codec.CompressBound(int64(len(src)))); cap(s.out) < n {
			s.out = make([]byte, 0, n)
		}
		s.out = codec.EncodeLevel(s.out, src, c.Level)
	}
	return s.out
}

// compressedLen is the length that src would get.
func (s *scratch) compressedLen(c Compression, src []byte) int { return len(s.compress(c, src, false)) }

func (s *scratch) zstdEncoder(level int, literals bool) *zstd.Encoder {
	strength := zstd.EncoderLevelFromZstd(level)
	literals = literals || strength > zstd.SpeedDefault // the stronger ones always do
	z := &s.zstd[strength-zstd.SpeedFastest][0]
	if literals {
		z = &s.zstd[strength-zstd.SpeedFastest][1]
	}
	if *z == nil {
		var err error
		// Without the frame's own checksum: the page header has one.
		if *z, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(strength),
			zstd.WithEncoderCRC(false), zstd.WithZeroFrames(true), zstd.WithWindowSize(zstdWindow), zstd.WithAllLitEntropyCompression(literals)); err != nil {
			panic(err) // the options are constants
		}
	}
	return *z
}

// libraryCodecs are the codecs that arrow-go has.
var libraryCodecs = map[Codec]compress.Codec{}

func init() {
	for c, name := range map[Codec]compress.Compression{Snappy: compress.Codecs.Snappy, Gzip: compress.Codecs.Gzip, LZ4: compress.Codecs.Lz4Raw} {
		codec, err := compress.GetCodec(name)
		if err != nil {
			panic(err) // built into arrow-go
		}
		libraryCodecs[c] = codec
	}
}

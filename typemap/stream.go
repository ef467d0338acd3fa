package typemap

import (
	"bytes"
	"encoding/binary"
)

var le = binary.LittleEndian

// binaryMagic begins a binary COPY. Source: the manual's COPY, Binary Format.
const binaryMagic = "PGCOPY\n\xff\r\n\x00"

// writeBinary decodes p. What is left of it, less than a whole unit (the header, a row's field count, one field), waits
// in carry.
func (d *Decoder) writeBinary(p []byte) error {
	for len(d.carry) > 0 {
		need, err := d.unit(d.carry)
		if err != nil {
			return err
		}
		k := min(need-len(d.carry), len(p))
		d.carry = append(d.carry, p[:k]...)
		p = p[k:]
		if len(d.carry) < need {
			return nil
		}
		if again, err := d.unit(d.carry); err != nil || again > need { // the length has only now been read
			if err != nil {
				return err
			}
			continue
		}
		rest, err := d.binary(d.carry)
		if err != nil {
			return err
		}
		if len(rest) > 0 {
			return d.stream("lost its framing")
		}
		d.carry = d.shrink(d.carry[:0])
	}
	rest, err := d.binary(p)
	if err != nil {
		return err
	}
	d.carry = append(d.carry, rest...)
	return nil
}

// shrink lets go of a buffer that one large value has left behind.
func (d *Decoder) shrink(b []byte) []byte {
	if cap(b) > 1<<20 {
		return nil
	}
	return b
}

// unit is how many bytes the unit that begins with p has, as far as p says.
func (d *Decoder) unit(p []byte) (int, error) {
	switch {
	case !d.header:
		if n := min(len(p), len(binaryMagic)); string(p[:n]) != binaryMagic[:n] {
			return 0, d.stream("does not begin as a binary COPY does")
		}
		if len(p) < 19 {
			return 19, nil
		}
		ext := int32(be.Uint32(p[15:]))
		if ext < 0 || ext > 1<<20 {
			return 0, d.stream("has a header extension of %d bytes", ext)
		}
		return 19 + int(ext), nil
	case d.field < 0:
		return 2, nil
	case len(p) < 4:
		return 4, nil
	}
	n := int32(be.Uint32(p))
	switch {
	case n == -1:
		return 4, nil
	case n < 0:
		return 0, d.stream("has a field of %d bytes in column %q", n, d.plan.Columns[d.field].Name)
	}
	return 4 + int(n), nil
}

// binary decodes as many whole units as p has and gives the rest.
func (d *Decoder) binary(p []byte) ([]byte, error) {
	if !d.header {
		n, err := d.unit(p)
		if err != nil || len(p) < n {
			return p, err
		}
		if flags := be.Uint32(p[11:]); flags != 0 {
			return p, d.stream("has the header flags %#x, which are not known", flags)
		}
		d.header = true
		p = p[n:]
	}
	for {
		if d.field < 0 {
			if d.done {
				if len(p) > 0 {
					return p, d.stream("goes on behind its trailer")
				}
				return p, nil
			}
			if len(p) < 2 {
				return p, nil
			}
			n := int16(be.Uint16(p))
			p = p[2:]
			if n == -1 {
				d.done = true
				continue
			}
			if int(n) != len(d.cols) {
				return p, d.stream("has a row of %d fields, not %d", n, len(d.cols))
			}
			if err := d.startRow(); err != nil {
				return p, err
			}
		}
		var err error
		if p, err = d.binaryFields(p); err != nil || d.field < len(d.cols) {
			return p, err
		}
		if err = d.endRow(); err != nil {
			return p, err
		}
	}
}

// scanState is how far the scanner is into a CSV field that is not whole.
type scanState struct {
	begun, quoted bool
	quote         bool // the last byte was a quote inside a quoted field: its end, or the first of two
}

// fieldEnd looks for the end of a field that p begins or goes on with, and gives the number of bytes up to and with the
// comma or line feed behind it; -1 when p ends first.
func (s *scanState) fieldEnd(p []byte) int {
	i := 0
	if !s.begun && len(p) > 0 {
		s.begun = true
		if p[0] == '"' {
			s.quoted = true
			i = 1
		}
	}
	if !s.quoted {
		if i = bareEnd(p); i < len(p) {
			return i + 1
		}
		return -1
	}
	for i < len(p) {
		if s.quote {
			s.quote = false
			if p[i] != '"' {
				return i + 1
			}
			i++
			continue
		}
		k := bytes.IndexByte(p[i:], '"')
		if k < 0 {
			return -1
		}
		i += k + 1
		s.quote = true
	}
	return -1
}

// writeCSV decodes p. The beginning of a field that is not whole waits in carry.
func (d *Decoder) writeCSV(p []byte) error {
	if len(d.carry) > 0 {
		k := d.scan.fieldEnd(p)
		if k < 0 {
			d.carry = append(d.carry, p...)
			return nil
		}
		d.carry = append(d.carry, p[:k]...)
		p = p[k:]
		rest, err := d.csv(d.carry)
		if err != nil {
			return err
		}
		if len(rest) > 0 {
			return d.stream("lost its framing")
		}
		d.carry = d.shrink(d.carry[:0])
	}
	for len(p) > 0 {
		n := len(p)
		if size := d.opt.BlockSize; size > 0 {
			n = min(n, size)
		}
		rest, err := d.csv(p[:n])
		if err != nil {
			return err
		}
		p = p[n-len(rest):]
		if len(rest) == 0 {
			continue
		}
		// A field that the block cuts is decoded where it lies if p has the rest of it: a copy of a large value is dear.
		d.scan = scanState{}
		k := d.scan.fieldEnd(p)
		if k < 0 {
			d.carry = append(d.carry, p...)
			return nil
		}
		if rest, err = d.csv(p[:k]); err != nil {
			return err
		}
		if len(rest) > 0 {
			return d.stream("lost its framing")
		}
		p = p[k:]
	}
	return nil
}

// csv decodes as many whole fields as p has and gives the rest.
func (d *Decoder) csv(p []byte) ([]byte, error) {
	for len(p) > 0 {
		if d.field < 0 {
			if err := d.startRow(); err != nil {
				return p, err
			}
			if len(d.cols) == 0 {
				if p[0] != '\n' {
					return p, d.stream("has a field where there is no column")
				}
				p = p[1:]
			}
		}
		var err error
		if p, err = d.csvFields(p); err != nil || d.field < len(d.cols) {
			return p, err
		}
		if err = d.endRow(); err != nil {
			return p, err
		}
	}
	return p, nil
}

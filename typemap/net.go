package typemap

import (
	"strconv"

	"fast-export/internal/pgbin"
)

// appendInet turns the wire form of inet or cidr into what inet_out and cidr_out print: the mask of an inet only where it
// says less than the whole address. Source: network_send in network.c, inet_net_ntop.c.
func appendInet(dst, v []byte, cidr bool) ([]byte, error) {
	r := pgbin.New(v)
	family, maskBits := r.Uint8(), int(r.Uint8())
	r.Uint8() // is_cidr, which the column's type says already
	a := r.Bytes(int(r.Uint8()))
	if r.Done() != nil {
		return dst, bad("not an inet: %v", r.Err())
	}
	full := 32
	switch {
	case family == 2 && len(a) == 4:
		dst = appendIPv4(dst, a)
	case family == 3 && len(a) == 16:
		full = 128
		dst = appendIPv6(dst, a)
	default:
		return dst, bad("an inet of family %d with %d bytes", family, len(a))
	}
	if maskBits > full {
		return dst, bad("an inet with a mask of %d bits", maskBits)
	}
	if cidr || maskBits < full {
		dst = append(dst, '/')
		dst = strconv.AppendInt(dst, int64(maskBits), 10)
	}
	return dst, nil
}

func appendIPv4(dst, a []byte) []byte {
	for i, b := range a {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = strconv.AppendUint(dst, uint64(b), 10)
	}
	return dst
}

// appendIPv6 shortens the longest run of zeros as inet_net_ntop_ipv6 does, with its own cases of embedded IPv4.
func appendIPv6(dst, a []byte) []byte {
	var w [8]uint16
	for i := range w {
		w[i] = be.Uint16(a[2*i:])
	}
	base, n := -1, 0
	for i := 0; i < 8; {
		if w[i] != 0 {
			i++
			continue
		}
		j := i
		for j < 8 && w[j] == 0 {
			j++
		}
		if j-i > n && j-i >= 2 {
			base, n = i, j-i
		}
		i = j
	}
	for i := 0; i < 8; i++ {
		if base >= 0 && i >= base && i < base+n {
			if i == base {
				dst = append(dst, ':')
			}
			continue
		}
		if i > 0 {
			dst = append(dst, ':')
		}
		if i == 6 && base == 0 && (n == 6 || n == 5 && w[5] == 0xFFFF) {
			return appendIPv4(dst, a[12:])
		}
		dst = strconv.AppendUint(dst, uint64(w[i]), 16)
	}
	if base >= 0 && base+n == 8 {
		dst = append(dst, ':')
	}
	return dst
}

// appendMAC prints six or eight bytes as macaddr_out and macaddr8_out do.
func appendMAC(dst, v []byte) []byte {
	const hex = "0123456789abcdef"
	for i, b := range v {
		if i > 0 {
			dst = append(dst, ':')
		}
		dst = append(dst, hex[b>>4], hex[b&15])
	}
	return dst
}

// appendBits prints a bit string. Source: varbit_send in varbit.c.
func appendBits(dst, v []byte) ([]byte, error) {
	r := pgbin.New(v)
	n := int(r.Int32())
	p := r.Rest()
	if r.Err() != nil || n < 0 || len(p) != (n+7)/8 {
		return dst, bad("a bit string of %d bits in %d bytes", n, len(v))
	}
	for i := range n {
		dst = append(dst, '0'+p[i>>3]>>(7-i&7)&1)
	}
	return dst, nil
}

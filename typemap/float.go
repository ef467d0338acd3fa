package typemap

import (
	"math"
	"math/big"
	"math/bits"
	"strconv"
	"unsafe"
)

// Both transports must give the same bytes, so every NaN is this one: the pattern that Postgres itself sends.
const (
	nan64 uint64 = 0x7FF8000000000000
	nan32 uint32 = 0x7FC00000
)

func canon64(b uint64) uint64 {
	if b<<1 > 0xFFE0000000000000 {
		return nan64
	}
	return b
}

func canon32(b uint32) uint32 {
	if b<<1 > 0xFF000000 {
		return nan32
	}
	return b
}

// exact10 holds the powers of ten that are exact in a float64: a product or quotient with one of them rounds once.
var exact10 = [23]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
}

// The powers of ten that the fast conversion knows, as 128-bit mantissas rounded down. Values beyond them take the slow,
// equally exact way through strconv; the table is small enough to stay in the cache.
const (
	minTable10 = -100
	maxTable10 = 100
)

type uint128 struct{ hi, lo uint64 }

var table10 = func() (t [maxTable10 - minTable10 + 1]uint128) {
	one, ten := big.NewInt(1), big.NewInt(10)
	mask := new(big.Int).SetUint64(math.MaxUint64)
	for e := minTable10; e <= maxTable10; e++ {
		var x *big.Int
		if e >= 0 {
			x = new(big.Int).Exp(ten, big.NewInt(int64(e)), nil)
			x.Lsh(x, 512)
		} else {
			d := new(big.Int).Exp(ten, big.NewInt(int64(-e)), nil)
			x = new(big.Int).Quo(new(big.Int).Lsh(one, 1024), d)
		}
		x.Rsh(x, uint(x.BitLen()-128))
		t[e-minTable10] = uint128{new(big.Int).Rsh(x, 64).Uint64(), new(big.Int).And(x, mask).Uint64()}
	}
	return t
}()

// decimalFloat gives the float64 nearest to m·10^e, ties to even, without the sign; ok is false where the fast ways do
// not decide. Source: W. D. Clinger, How to Read Floating Point Numbers Accurately (1990); D. Lemire, Number Parsing at
// a Gigabyte per Second (2021), whose section 5 the second half follows.
func decimalFloat(m uint64, e int) (f float64, ok bool) {
	if m < 1<<53 {
		if uint(e+22) <= 44 {
			if e < 0 {
				return float64(m) / exact10[-e], true
			}
			return float64(m) * exact10[e], true
		}
		if m == 0 {
			return 0, true
		}
	}
	if e < minTable10 || e > maxTable10 {
		return 0, false
	}
	p := &table10[e-minTable10]
	lz := bits.LeadingZeros64(m)
	m <<= uint(lz)
	hi, lo := bits.Mul64(m, p.hi)
	if hi&0x1FF == 0x1FF && lo+m < m { // what the second word could add might carry into the bits that count
		h2, l2 := bits.Mul64(m, p.lo)
		nlo := lo + h2
		nhi := hi
		if nlo < lo {
			nhi++
		}
		if nhi&0x1FF == 0x1FF && nlo+1 == 0 && l2+m < m {
			return 0, false
		}
		hi, lo = nhi, nlo
	}
	top := hi >> 63
	man := hi >> (top + 9)
	if lo == 0 && hi&0x1FF == 0 && man&3 == 1 { // exactly between two float64s, as far as these bits say
		return 0, false
	}
	man = (man + man&1) >> 1
	// floor(e·log2(10)) + 64, biased; the table's range keeps it away from subnormals and infinity.
	exp := (e*108853)>>15 + 64 + 1023 - lz - int(1^top)
	if man>>53 != 0 {
		man >>= 1
		exp++
	}
	return math.Float64frombits(uint64(exp)<<52 | man&(1<<52-1)), true
}

// scanDecimal reads a number as Postgres prints one: [-]digits[.digits][e[+-]digits]. m·10^e is its value when many is
// false; else m holds the first 19 digits only. ok is false for anything else, such as NaN.
func scanDecimal(v []byte) (m uint64, e int, neg, many, ok bool) {
	i := 0
	if len(v) > 0 && v[0] == '-' {
		neg = true
		i = 1
	}
	digits, point, seen := 0, -1, 0
	for ; i < len(v); i++ {
		c := v[i] - '0'
		if c <= 9 {
			seen++
			if m == 0 && c == 0 {
				if point >= 0 {
					e--
				}
				continue
			}
			if digits < 19 {
				m = m*10 + uint64(c)
				digits++
				if point >= 0 {
					e--
				}
			} else {
				many = true
				if point < 0 {
					e++
				}
			}
			continue
		}
		if v[i] == '.' && point < 0 {
			point = i
			continue
		}
		break
	}
	if seen == 0 || point == len(v)-1 {
		return 0, 0, false, false, false
	}
	if i < len(v) {
		if v[i] != 'e' && v[i] != 'E' {
			return 0, 0, false, false, false
		}
		x, xneg, k := 0, false, i+1
		if k < len(v) && (v[k] == '-' || v[k] == '+') {
			xneg = v[k] == '-'
			k++
		}
		if k == len(v) {
			return 0, 0, false, false, false
		}
		for ; k < len(v); k++ {
			c := v[k] - '0'
			if c > 9 {
				return 0, 0, false, false, false
			}
			if x < 1e6 {
				x = x*10 + int(c)
			}
		}
		if xneg {
			x = -x
		}
		e += x
	}
	return m, e, neg, many, true
}

func str(v []byte) string { return unsafe.String(unsafe.SliceData(v), len(v)) }

// parseFloat64 gives the bits of the float64 that v says, NaN as the one pattern.
func parseFloat64(v []byte) (uint64, error) {
	m, e, neg, many, ok := scanDecimal(v)
	if ok && !many {
		if f, ok := decimalFloat(m, e); ok {
			b := math.Float64bits(f)
			if neg {
				b |= 1 << 63
			}
			return b, nil
		}
	}
	if !ok {
		switch string(v) {
		case "NaN":
			return nan64, nil
		case "Infinity":
			return math.Float64bits(math.Inf(1)), nil
		case "-Infinity":
			return math.Float64bits(math.Inf(-1)), nil
		}
		return 0, bad("not a number")
	}
	f, err := strconv.ParseFloat(str(v), 64)
	if err != nil {
		return 0, bad("beyond the range of a float64")
	}
	return math.Float64bits(f), nil
}

// narrow gives the bits of the float32 nearest to a decimal whose nearest float64 is f ≥ 0. The nearest to f is it unless
// f lies exactly between two float32s, where the decimal may be on either side, or where float32s are subnormal or end:
// not ok.
func narrow(f float64, neg bool) (uint32, bool) {
	b := math.Float64bits(f)
	if exp := b >> 52; b != 0 && (b&(1<<29-1) == 1<<28 || exp <= 1023-126 || exp >= 1023+127) {
		return 0, false
	}
	b32 := math.Float32bits(float32(f))
	if neg {
		b32 |= 1 << 31
	}
	return b32, true
}

// parseFloat32 is parseFloat64 for a real: rounded once, never by way of another float64.
func parseFloat32(v []byte) (uint32, error) {
	m, e, neg, many, ok := scanDecimal(v)
	if ok && !many && m < 1<<53 && uint(e+22) <= 44 {
		f, _ := decimalFloat(m, e)
		if b, ok := narrow(f, neg); ok {
			return b, nil
		}
	}
	if !ok {
		switch string(v) {
		case "NaN":
			return nan32, nil
		case "Infinity":
			return math.Float32bits(float32(math.Inf(1))), nil
		case "-Infinity":
			return math.Float32bits(float32(math.Inf(-1))), nil
		}
		return 0, bad("not a number")
	}
	f, err := strconv.ParseFloat(str(v), 32)
	if err != nil {
		return 0, bad("beyond the range of a float32")
	}
	return math.Float32bits(float32(f)), nil
}

// halfToFloat32 widens an IEEE 754 half, exactly.
func halfToFloat32(h uint16) uint32 {
	sign := uint32(h&0x8000) << 16
	exp, man := uint32(h>>10&0x1F), uint32(h&0x3FF)
	switch exp {
	case 0:
		f := math.Float32bits(float32(man) / (1 << 24))
		return sign | f
	case 31:
		if man != 0 {
			return nan32
		}
		return sign | 0xFF<<23
	}
	return sign | (exp+127-15)<<23 | man<<13
}

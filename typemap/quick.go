package typemap

import (
	"math"
	"math/bits"
)

// The quick readers take a number off the front of CSV, up to the byte want behind it. They know the forms that nearly
// every value has; k, the number's length, is 0 for all others, which the exact readers then look at. Each is exact
// where it answers.
//
// quickBytes is how much they get to see: they read words of eight bytes, up to four of them.
const quickBytes = 40

const ones = 0x0101010101010101

// hasByte sets the highest bit of the first byte of x, in memory's order, that is b; bits above it may be wrong.
func hasByte(x uint64, b byte) uint64 {
	x ^= ones * uint64(b)
	return (x - ones) &^ x & highBits
}

// special is hasByte for the bytes that end a field without quotes, or that cannot be in one.
func special(x uint64) uint64 {
	return hasByte(x, ',') | hasByte(x, '\n') | hasByte(x, '"') | hasByte(x, '\r')
}

// digitCount is how many digits eight bytes begin with.
func digitCount(x uint64) int {
	y := x ^ ones*'0'
	return bits.TrailingZeros64((y&0x7F7F7F7F7F7F7F7F+0x7676767676767676|y)&highBits) >> 3
}

// digitValue is the number that the first n of eight bytes say, which are digits.
func digitValue(x uint64, n int) uint64 {
	y := (x ^ ones*'0') << (uint(8-n) * 8) // zeros in front
	y = y * 2561 >> 8 & 0x00FF00FF00FF00FF
	y = y * 6553601 >> 16 & 0x0000FFFF0000FFFF
	return y * 42949672960001 >> 32
}

// quickScan reads [-]digits[.digits] of at most 19 digits in all: the value is m/10^frac.
func quickScan(p []byte, want byte) (m uint64, frac int, neg bool, k int) {
	p = p[:quickBytes:quickBytes]
	if p[0] == '-' {
		neg = true
		k = 1
	}
	x := le.Uint64(p[k:])
	whole := digitCount(x)
	if whole == 0 {
		return 0, 0, false, 0
	}
	if whole == 8 {
		return quickLong(p, want, neg, k)
	}
	if p[k+whole] != '.' {
		if p[k+whole] != want {
			return 0, 0, false, 0
		}
		return digitValue(x, whole), 0, neg, k + whole
	}
	// The digits on both sides of the point as one run.
	left := uint64(1)<<(uint(whole)*8) - 1
	x = x&left | le.Uint64(p[k+1:])&^left
	n := digitCount(x)
	if n < 8 {
		m = digitValue(x, n)
		k += n + 1
	} else {
		y := le.Uint64(p[k+9:])
		n = digitCount(y)
		m = digitValue(x, 8)*uint10[n&15] + digitValue(y, n)
		k += n + 9
		if n == 8 {
			for n < 11 && p[k]-'0' <= 9 { // 19 digits at most
				m = m*10 + uint64(p[k]-'0')
				k++
				n++
			}
		}
		n += 8
	}
	if n == whole || p[k] != want {
		return 0, 0, false, 0
	}
	return m, n - whole, neg, k
}

// quickLong is quickScan for eight digits and more in front of the point.
func quickLong(p []byte, want byte, neg bool, k int) (uint64, int, bool, int) {
	start := k
	m := digitValue(le.Uint64(p[k:]), 8)
	k += 8
	point := 0
	for {
		c := p[k] - '0'
		if c > 9 {
			if p[k] != '.' || point > 0 {
				break
			}
			point = k
		} else {
			m = m*10 + uint64(c)
		}
		if k++; k-start > 20 { // the point is one of them
			return 0, 0, false, 0
		}
	}
	frac := 0
	if point > 0 {
		if frac = k - point - 1; frac == 0 {
			return 0, 0, false, 0
		}
	} else if k-start > 19 {
		return 0, 0, false, 0
	}
	if p[k] != want {
		return 0, 0, false, 0
	}
	return m, frac, neg, k
}

func quickFloat64(p []byte, want byte) (b uint64, k int) {
	m, frac, neg, k := quickScan(p, want)
	if k == 0 {
		return 0, 0
	}
	f, ok := decimalFloat(m, -frac)
	if !ok {
		return 0, 0
	}
	return signed64(math.Float64bits(f), neg), k
}

func quickFloat32(p []byte, want byte) (b uint32, k int) {
	m, frac, neg, k := quickScan(p, want)
	if k == 0 || m >= 1<<53 {
		return 0, 0
	}
	b, ok := narrow(float64(m)/exact10[frac], neg)
	if !ok {
		return 0, 0
	}
	return b, k
}

// quickDecimal reads a numeric as a float64 where its shortest decimal must be the same number: up to 15 digits.
func quickDecimal(p []byte, want byte) (b uint64, k int) {
	m, frac, neg, k := quickScan(p, want)
	if k == 0 || m >= 1e15 || m == 0 {
		return 0, 0
	}
	return signed64(math.Float64bits(float64(m)/exact10[frac]), neg), k
}

func quickInt(p []byte, want byte) (x int64, k int) {
	m, frac, neg, k := quickScan(p, want)
	if k == 0 || frac != 0 || m > math.MaxInt64 {
		return 0, 0
	}
	if neg {
		return -int64(m), k
	}
	return int64(m), k
}

// quickStamp reads YYYY-MM-DD HH:MM:SS[.f] and, zoned, +00 of the years 1 to 9999.
func quickStamp(p []byte, want byte, zoned bool) (us int64, k int) {
	p = p[:quickBytes]
	if p[4] != '-' || p[7] != '-' || p[10] != ' ' || p[13] != ':' || p[16] != ':' {
		return 0, 0
	}
	hi, lo := digits2(p[0], p[1]), digits2(p[2], p[3])
	m, d := digits2(p[5], p[6]), digits2(p[8], p[9])
	h, mi, s := digits2(p[11], p[12]), digits2(p[14], p[15]), digits2(p[17], p[18])
	y := hi*100 + lo
	if hi > 99 || lo > 99 || y == 0 || m-1 > 11 || m < 1 || d < 1 || d > monthDays[m] || !leapDay(y, m, d) || h > 23 || mi > 59 || s > 59 {
		return 0, 0
	}
	k = 19
	var f uint64
	if p[k] == '.' {
		x := le.Uint64(p[k+1:])
		n := digitCount(x)
		if n == 0 || n > 6 {
			return 0, 0
		}
		f = digitValue(x, n) * uint10[6-n]
		k += 1 + n
	}
	if zoned {
		if p[k] != '+' || p[k+1] != '0' || p[k+2] != '0' {
			return 0, 0
		}
		k += 3
	}
	if p[k] != want {
		return 0, 0
	}
	return civilDays(y, m, d)*dayMicros + ((h*60+mi)*60+s)*1000000 + int64(f), k
}

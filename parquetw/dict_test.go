package parquetw

import (
	"fmt"
	"math"
	"testing"
)

// A dictionary that is half full finds the values of a column in few steps, whatever they have in common: floats of few
// digits differ in their uppermost bits alone, counts in their lowest.
func TestDictionarySpreads(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]func(i int) uint64{
		"counts":        func(i int) uint64 { return uint64(i) },
		"whole floats":  func(i int) uint64 { return math.Float64bits(float64(i)) },
		"decimals":      func(i int) uint64 { return math.Float64bits(float64(i) / 1000) },
		"single floats": func(i int) uint64 { return uint64(math.Float32bits(float32(i))) },
		"days":          func(i int) uint64 { return 1546300800000000 + uint64(i)*86400000000 },
		"short text":    func(i int) uint64 { return keyOf(fmt.Append(nil, "G", i)) },
		"text":          func(i int) uint64 { return keyOf(fmt.Append(nil, "MPS number ", i)) },
		"long text":     func(i int) uint64 { return keyOf(fmt.Append(nil, "a longer text, of number ", i)) },
	} {
		for _, n := range []int{500, 5000, 30000} {
			slots := minSlots
			for slots < 2*n {
				slots *= 2
			}
			taken := make([]bool, slots)
			steps := 0
			for i := range n {
				h := mix(key(i))
				for taken[h&uint64(slots-1)] {
					h++
					steps++
				}
				taken[h&uint64(slots-1)] = true
			}
			if steps > n {
				t.Errorf("%s: %d steps for %d values", name, steps, n)
			}
		}
	}
}

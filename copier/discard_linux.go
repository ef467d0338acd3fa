package copier

import (
	"os"

	"golang.org/x/sys/unix"
)

// discard gives a stretch of the file back to the file system. Where that is not possible it comes free with the file.
func discard(f *os.File, at, n int64) {
	_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, n)
}

package parquetw

import (
	"os"
	"syscall"
)

// startWriteback asks the kernel to begin writing n dirty bytes. An error changes nothing: the sync will do it all.
func startWriteback(f *os.File, at, n int64) {
	const syncFileRangeWrite = 2 // SYNC_FILE_RANGE_WRITE
	_ = syscall.SyncFileRange(int(f.Fd()), at, n, syncFileRangeWrite)
}

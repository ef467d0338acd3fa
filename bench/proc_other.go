//go:build !linux

package bench

import "syscall"

// Only Linux shows other processes in files.

func processCPU(uint32) (float64, bool) { return 0, false }

func endedCPU(uint32) (float64, bool) { return 0, false }

func parent(uint32) uint32 { return 0 }

func isBackend(uint32, string) bool { return false }

func clientCPU() float64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return float64(use.Utime.Nano()+use.Stime.Nano()) / 1e9
}

// peakMemory counts bytes as macOS's ru_maxrss does.
func peakMemory() int64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return int64(use.Maxrss)
}

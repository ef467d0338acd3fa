package bench

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// clockTick is how the kernel counts processes' times towards user space, whatever its own clock. Source: proc(5), sysconf(3).
const clockTick = 100

// stat are the fields of /proc/pid/stat from the third on, nil where there is no such process. Source: proc(5).
func stat(pid uint32) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	if fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])); len(fields) >= 15 {
		return fields
	}
	return nil
}

// ticks are two neighbouring times of stat's fields, together, in seconds.
func ticks(fields []string, at int) (float64, bool) {
	if fields == nil {
		return 0, false
	}
	user, err1 := strconv.ParseUint(fields[at], 10, 64)
	system, err2 := strconv.ParseUint(fields[at+1], 10, 64)
	return float64(user+system) / clockTick, err1 == nil && err2 == nil
}

// processCPU is the user and system time of a process in seconds: to the nanosecond where the kernel tells it so (schedstat), else
// in ticks of 10 ms. Source: proc(5), sched-stats in the kernel's documentation.
func processCPU(pid uint32) (float64, bool) {
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid)); err == nil {
		first, _, _ := strings.Cut(string(text), " ")
		if ns, err := strconv.ParseUint(first, 10, 64); err == nil && ns > 0 {
			return float64(ns) / 1e9, true
		}
	}
	return ticks(stat(pid), 11)
}

// endedCPU is the user and system time of a process's children that have ended, in seconds: fields 16 and 17 of its stat.
func endedCPU(pid uint32) (float64, bool) { return ticks(stat(pid), 13) }

// parent is the process that a process was started by, 0 where there is none.
func parent(pid uint32) uint32 {
	fields := stat(pid)
	if fields == nil {
		return 0
	}
	n, err := strconv.ParseUint(fields[1], 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// isBackend tells whether the process of that number on this machine is a server's process for that user: not one of a pooler
// that makes numbers up, nor what happens to have the number that it has in a container.
func isBackend(pid uint32, user string) bool {
	title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	// "postgres: USER DATABASE …", or with cluster_name "postgres: NAME: USER DATABASE …".
	name, rest, ok := bytes.Cut(title, []byte(": "))
	return ok && bytes.HasSuffix(name, []byte("postgres")) && bytes.Contains(append([]byte(" "), rest...), []byte(" "+user+" "))
}

// clientCPU is the user and system time of this process in seconds.
func clientCPU() float64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		return 0
	}
	return float64(use.Utime.Nano()+use.Stime.Nano()) / 1e9
}

// peakMemory is the largest resident set of this process since it was started, in bytes. getrusage would count what its parent
// had. Source: proc(5), VmHWM.
func peakMemory() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err == nil {
				return kib << 10
			}
		}
	}
	return 0
}

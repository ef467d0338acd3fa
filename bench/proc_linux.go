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

// processCPU is the user and system time of a process in seconds. Source: proc(5), /proc/pid/stat, fields 14 and 15.
func processCPU(pid uint32) (float64, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // from field 3 on
	if len(fields) < 13 {
		return 0, false
	}
	user, err1 := strconv.ParseUint(fields[11], 10, 64)
	system, err2 := strconv.ParseUint(fields[12], 10, 64)
	return float64(user+system) / clockTick, err1 == nil && err2 == nil
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

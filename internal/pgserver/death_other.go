//go:build !linux

package pgserver

import "syscall"

// endWithParent does nothing: only Linux has a signal for it.
func endWithParent(*syscall.SysProcAttr) {}

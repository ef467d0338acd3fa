//go:build !linux

package copier

import "os"

// discard does nothing: the space comes free with the file.
func discard(*os.File, int64, int64) {}

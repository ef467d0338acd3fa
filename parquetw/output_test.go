package parquetw

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

// Where only the directory could not be synced the error says that the file is there.
func TestUnsyncedIsThere(t *testing.T) {
	o := &output{path: "/d/f.parquet"}
	err := o.unsynced(&fs.PathError{Op: "sync", Path: "/d", Err: syscall.EIO})
	if want := "sync directory /d: input/output error; f.parquet is there, whole"; !strings.HasPrefix(err.Error(), want) || !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v", err)
	}
}

package pgserver

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// dirPrefix begins the names of the servers' private directories.
const dirPrefix = "fast-export-pg-"

// maxSocketBase bounds the directory above the private one, so that "<base>/fast-export-pg-1234567890/.s.PGSQL.65535" fits the
// 103 bytes of a Unix socket's path on macOS; Linux has 107 (sun_path in unix(7)).
const maxSocketBase = 50

// socketBase is the directory for temporary files, or /tmp where that is too long for a socket below it or closed to the account.
func socketBase(a *account) string {
	base := os.TempDir()
	if len(base) > maxSocketBase || !a.reaches(base) {
		return "/tmp"
	}
	return base
}

// ownedDir is a private directory that shows by a lock whether the process that made it lives.
type ownedDir struct {
	path string
	lock *os.File
}

// makeOwnedDir makes one under base whose name begins with prefix, and clears away those whose process was killed.
func makeOwnedDir(base, prefix string) (*ownedDir, error) {
	sweep(base, prefix)
	path, err := os.MkdirTemp(base, prefix)
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(lockFile(path), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	return &ownedDir{path, lock}, nil
}

func (d *ownedDir) remove() error {
	err := os.RemoveAll(d.path)
	_ = d.lock.Close() // nothing was written to it; a second time it is closed already
	return err
}

func lockFile(dir string) string { return filepath.Join(dir, "lock") }

// sweep removes the directories that makeOwnedDir made for processes which live no more, as far as we may.
func sweep(base, prefix string) {
	entries, _ := os.ReadDir(base) // what cannot be read is not ours to clear
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		path := filepath.Join(base, e.Name())
		// One that is just being made has no lock yet.
		if info, err := e.Info(); err != nil || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		lock, err := os.OpenFile(lockFile(path), os.O_RDWR, 0)
		if err == nil {
			err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
			if err != nil {
				_ = lock.Close()
				continue
			}
		} else if !os.IsNotExist(err) {
			continue
		}
		_ = os.RemoveAll(path)
		if lock != nil {
			_ = lock.Close()
		}
	}
}

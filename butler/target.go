package butler

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// guarded is what of a repository no output may replace, besides the datasets.
type guarded struct {
	roots []string // local directories in which nothing is written
	files []string // the registry and the configuration
}

// guard collects what belongs to the repository itself. registry is the SQLite file, "" for a server's.
func (c *repoConfig) guard(registry string) guarded {
	g := guarded{files: c.files}
	if c.root != "" {
		g.roots = append(g.roots, c.root)
	}
	for _, d := range c.datastores {
		if !hasScheme(d.root) {
			g.roots = append(g.roots, d.root)
		}
	}
	if registry != "" {
		for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
			g.files = append(g.files, registry+suffix)
		}
	}
	return g
}

// CheckTarget says why a file must not be written under path, as far as the repository's configuration tells: see the method. A
// configuration that cannot be read says nothing.
func CheckTarget(o Options, path string) error {
	o, err := o.withDefaults()
	if err != nil {
		return nil
	}
	src := source{getenv: o.Getenv, log: slog.New(slog.DiscardHandler)}
	c, err := src.openConfig(o.Repo)
	if err != nil {
		return nil
	}
	registry := ""
	if u, _, err := c.dbURL(o.Getenv); err == nil && u.dialect == "sqlite" {
		registry, _ = u.sqlitePath()
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	_, err = c.guard(registry).check(abs)
	return err
}

// CheckTarget says why a file must not be written under path, or temporary files in the directory path: it is in the
// repository or in the root of one of its datastores, or it is the registry, a configuration file or the file of a listed
// dataset under this or another name. Nothing of a dataset is read.
func (e *Extraction) CheckTarget(path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	have, err := e.guarded.check(abs)
	if have == nil || err != nil {
		return err
	}
	// A dataset whose size is not that of its record is damaged and ends the run before anything is replaced, so that only
	// files of the right size need be looked at: with a hundred thousand of them on a network that counts.
	seen := map[string]bool{}
	for i := range e.listing.refs {
		for _, c := range e.listing.candidates(&e.listing.refs[i], e.stores) {
			loc, err := resolveLocation(c.root, c.record.path, e.opt.PathMaps)
			if err != nil || loc.path == "" || loc.member == "" && c.record.size >= 0 && c.record.size != have.Size() || seen[loc.path] {
				continue
			}
			seen[loc.path] = true
			if same(have, loc.path) {
				return fmt.Errorf("it is the file of dataset %s, under this name or as %s", e.name(i), loc.path)
			}
		}
	}
	return nil
}

// check says why nothing must be written to an absolute path. have is what is there, nil where there is nothing.
func (g guarded) check(abs string) (have fs.FileInfo, err error) {
	places := []string{filepath.Dir(abs)}
	if isDir(abs) {
		places = append(places, abs)
	}
	for _, root := range g.roots {
		for _, place := range places {
			if within(place, root) {
				return nil, fmt.Errorf("it is inside the repository (%s): nothing is ever written there", root)
			}
		}
	}
	have, err = os.Stat(abs)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, f := range g.files {
		if same(have, f) {
			return nil, fmt.Errorf("it is a file of the repository (%s)", f)
		}
	}
	return have, nil
}

// same tells whether have is what stands at path.
func same(have fs.FileInfo, path string) bool {
	info, err := os.Stat(path)
	return err == nil && os.SameFile(have, info)
}

// within tells whether directory dir is root or below it, links followed.
func within(dir, root string) bool {
	want, err := os.Stat(root)
	if err != nil {
		return false
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	for {
		if info, err := os.Stat(dir); err == nil && os.SameFile(info, want) {
			return true
		}
		up := filepath.Dir(dir)
		if up == dir {
			return false
		}
		dir = up
	}
}

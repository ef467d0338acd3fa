package butler

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const rootTag = "<butlerRoot>"

// repoConfig is what butler.yaml says, with defaults filled in and <butlerRoot> replaced.
type repoConfig struct {
	name       string   // as the user named the repository
	file       string   // the configuration file
	files      []string // that file and those that it includes, and the index of repositories
	root       string   // the repository's directory, "" where it is no local one
	db         string   // SQLAlchemy URL
	username   string   // the five keys that fill what db leaves open
	password   string
	host       string
	port       string
	database   string
	namespace  string                         // schema of the registry's tables, "" for the server's current one
	managers   map[string]string              // kind of manager to class path, for comparison with the registry's own
	overrides  map[string]datasetTypeOverride // by the name in the database
	datastores []datastoreConfig              // in the order of search
	inMemory   bool                           // a datastore was left out: it keeps nothing for other processes
}

// datasetTypeOverride is a client's view of a dataset type: registry.managers.datasets.config.overrides.
type datasetTypeOverride struct{ rename, storageClass string }

// datastoreConfig is one file datastore.
type datastoreConfig struct {
	name  string // for messages
	root  string // absolute directory, or a URI
	table string // the table with its records
}

// source is where a repository's settings come from besides its files.
type source struct {
	getenv func(string) string
	log    *slog.Logger
}

// openConfig finds and reads a repository's configuration. repo is a label of the repository index, else a directory, a
// .yaml or .json file, or a file: URI of either.
func (s source) openConfig(repo string) (*repoConfig, error) {
	fail := func(reason string, err error) error { return &RepoError{Repo: repo, Reason: reason, Err: err} }
	if repo == "" {
		return nil, &UsageError{Option: "repo", Reason: "no repository given"}
	}
	if s.getenv("DAF_BUTLER_CONFIG_PATH") != "" {
		s.log.Warn("DAF_BUTLER_CONFIG_PATH is set: defaults in the directories that it names are not read")
	}
	target, labelMiss, index := s.lookUpLabel(repo)
	file, err := s.configFile(target)
	if err != nil {
		if labelMiss != "" {
			return nil, fail(labelMiss+"; as a path", err)
		}
		return nil, fail("label for "+redactURI(target), err)
	}
	loader := &treeLoader{getenv: s.getenv}
	tree, err := loader.load(file, 0)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && loader.files == 1 {
			err = fmt.Errorf("there is no %s", file)
			if labelMiss != "" {
				return nil, fail(labelMiss+"; as a path", err)
			}
		}
		return nil, fail("cannot read the configuration", err)
	}
	m, ok := tree.(map[string]any)
	if !ok {
		return nil, fail("cannot read the configuration", fmt.Errorf("%s is no mapping", file))
	}
	c, err := s.readConfig(m, file)
	if err != nil {
		return nil, fail("cannot use the configuration "+file, err)
	}
	c.name, c.files = repo, loader.paths
	if index != "" {
		c.files = append(c.files, index)
	}
	return c, nil
}

// lookUpLabel gives what the index says of a label. Everything that can go wrong with the index makes Python take the
// text for a path; so do we, and say in miss why it was no label. file is the index, "" where it is none.
// Source: ButlerRepoIndex in _butler_repo_index.py.
func (s source) lookUpLabel(repo string) (target, miss, file string) {
	indexURI, inline := s.getenv("DAF_BUTLER_REPOSITORY_INDEX"), s.getenv("DAF_BUTLER_REPOSITORIES")
	where := "DAF_BUTLER_REPOSITORIES"
	loader := &treeLoader{getenv: s.getenv}
	var tree any
	var err error
	switch {
	case indexURI == "" && inline == "":
		return repo, "no label, for neither DAF_BUTLER_REPOSITORY_INDEX nor DAF_BUTLER_REPOSITORIES is set", ""
	case indexURI != "" && inline != "":
		return repo, "labels cannot be looked up, because both DAF_BUTLER_REPOSITORY_INDEX and DAF_BUTLER_REPOSITORIES are set", ""
	case inline != "":
		tree, err = loader.parse([]byte(inline), "DAF_BUTLER_REPOSITORIES", 0)
	default:
		where = redactURI(indexURI)
		var p string
		if p, err = localFile(expandVars(expandUser(indexURI, s.getenv), s.getenv)); err == nil {
			file = p
			tree, err = loader.load(p, 0)
		}
	}
	if err != nil {
		s.log.Warn("the index of repositories cannot be read: the repository is taken for a path", "index", where, "error", err)
		return repo, fmt.Sprintf("the index %s cannot be read (%v)", where, err), file
	}
	index, ok := tree.(map[string]any)
	if !ok {
		return repo, fmt.Sprintf("the index %s is no map from labels to repositories", where), file
	}
	labels := make([]string, 0, len(index))
	for label, v := range index {
		if _, isText := v.(string); !isText { // one bad entry spoils the index, in Python too
			return repo, fmt.Sprintf("the index %s is no map from labels to repositories (see %s)", where, quoteName(label)), file
		}
		labels = append(labels, label)
	}
	if uri, ok := index[repo].(string); ok {
		return uri, "", file
	}
	slices.Sort(labels)
	known := strings.Join(labels[:min(len(labels), 20)], ", ")
	if len(labels) > 20 {
		known += fmt.Sprintf(" and %d more", len(labels)-20)
	}
	miss = fmt.Sprintf("no label of the index %s (labels: %s)", where, known)
	if close := nearest(repo, labels); len(close) > 0 {
		miss += fmt.Sprintf(", did you mean %s?", close[0])
	}
	return repo, miss, file
}

// configFile gives the path of the configuration file that a path or URI stands for.
func (s source) configFile(target string) (string, error) {
	if !hasScheme(target) {
		if _, err := os.Stat(target); err != nil { // a name with a literal $ or ~ wins over an expanded one
			target = expandVars(expandUser(target, s.getenv), s.getenv)
		}
	}
	p, err := localFile(target)
	if err != nil {
		return "", fmt.Errorf("%w: a configuration elsewhere cannot be opened, copy it here", err)
	}
	if p, err = filepath.Abs(p); err != nil {
		return "", err
	}
	if isDir(p) || strings.HasSuffix(target, "/") {
		return filepath.Join(p, "butler.yaml"), nil
	}
	switch filepath.Ext(p) {
	case ".yaml", ".json":
		return p, nil
	}
	if isFile(p) {
		return "", fmt.Errorf("%s is neither a directory nor a .yaml or .json file", p)
	}
	return "", fmt.Errorf("there is no %s", filepath.Join(p, "butler.yaml"))
}

// readConfig takes what we need from a configuration tree.
func (s source) readConfig(m map[string]any, file string) (*repoConfig, error) {
	cls := text(m["cls"])
	switch {
	case strings.HasSuffix(cls, "RemoteButler"):
		return nil, fmt.Errorf("it names a RemoteButler (%s), a repository behind a web service: only direct repositories can be read", cls)
	case cls != "" && !strings.HasSuffix(cls, "DirectButler"):
		return nil, fmt.Errorf("unknown class of Butler %s", quoteName(cls))
	}
	root, err := s.butlerRoot(text(m["root"]), file)
	if err != nil {
		return nil, err
	}
	c := &repoConfig{file: file, managers: map[string]string{}, overrides: map[string]datasetTypeOverride{}}
	if !hasScheme(root) {
		c.root = root
	}
	reg, err := section(m, "registry")
	if err != nil {
		return nil, err
	}
	c.db = text(reg["db"])
	if c.db == "" {
		c.db = "sqlite:///" + rootTag + "/gen3.sqlite3"
	}
	c.db = strings.ReplaceAll(c.db, rootTag, root)
	c.username, c.password = text(reg["username"]), text(reg["password"])
	c.host, c.port, c.database = text(reg["host"]), text(reg["port"]), text(reg["database"])
	c.namespace = text(reg["namespace"])
	managers, err := section(reg, "managers")
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	for kind, v := range managers {
		switch v := v.(type) {
		case string:
			c.managers[kind] = v
		case map[string]any:
			c.managers[kind] = text(v["cls"])
			if kind != "datasets" {
				continue
			}
			if err := c.readOverrides(v); err != nil {
				return nil, err
			}
		}
	}
	store, err := section(m, "datastore")
	if err != nil {
		return nil, err
	}
	if err := c.readDatastore(store, s, root, 0); err != nil {
		return nil, err
	}
	switch {
	case len(c.datastores) > 0:
	case c.inMemory:
		return nil, errors.New("its datastores are all in memory: no file can be read from them")
	default:
		return nil, errors.New("datastore: the ChainedDatastore has an empty list of datastores")
	}
	return c, nil
}

// butlerRoot gives what <butlerRoot> stands for: an absolute directory without a trailing slash, or a URI.
func (s source) butlerRoot(root, file string) (string, error) {
	if root == "" {
		return filepath.Dir(file), nil
	}
	if hasScheme(root) && !strings.HasPrefix(root, "file:") {
		return root, nil
	}
	p, err := localFile(root)
	if err != nil {
		return "", err
	}
	if !hasScheme(root) {
		p = expandVars(expandUser(p, s.getenv), s.getenv)
	}
	return filepath.Abs(p)
}

func (c *repoConfig) readOverrides(manager map[string]any) error {
	config, ok := manager["config"].(map[string]any)
	if !ok {
		return nil
	}
	overrides, ok := config["overrides"].(map[string]any)
	if !ok {
		return nil
	}
	for name, v := range overrides {
		o, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("registry.managers.datasets.config.overrides: %s is no mapping", quoteName(name))
		}
		c.overrides[name] = datasetTypeOverride{rename: text(o["rename"]), storageClass: text(o["storageClass"])}
	}
	return nil
}

// readDatastore adds a datastore, or the children of a chained one.
func (c *repoConfig) readDatastore(m map[string]any, s source, root string, depth int) error {
	if depth > maxConfigDepth {
		return errors.New("datastore: chained deeper than can be")
	}
	cls := text(m["cls"])
	name := cls[strings.LastIndexByte(cls, '.')+1:]
	switch {
	case strings.HasSuffix(name, "ChainedDatastore"):
		children, ok := m["datastores"].([]any)
		if !ok {
			return errors.New("datastore: a ChainedDatastore without a list of datastores")
		}
		for i, child := range children {
			wrapped, err := section(map[string]any{"datastore": child}, "datastore")
			if err != nil {
				return fmt.Errorf("datastore: number %d of the chain: %w", i, err)
			}
			if err := c.readDatastore(wrapped, s, root, depth+1); err != nil {
				return err
			}
		}
		return nil
	case strings.HasSuffix(name, "InMemoryDatastore"):
		c.inMemory = true
		return nil
	case name != "" && !strings.HasSuffix(name, "FileDatastore"):
		return fmt.Errorf("datastore: unknown class %s", quoteName(cls))
	}
	if text(m["trust_get_request"]) == "true" {
		return errors.New("datastore: trust_get_request is set: its datasets have no records, their paths would have to be guessed")
	}
	d := datastoreConfig{name: text(m["name"]), root: text(m["root"]), table: "file_datastore_records"}
	if d.root == "" {
		d.root = rootTag + "/datastore"
	}
	if d.name == "" {
		d.name = "FileDatastore@" + d.root
	}
	d.root = strings.ReplaceAll(d.root, rootTag, root)
	if !hasScheme(d.root) || strings.HasPrefix(d.root, "file:") {
		p, err := localFile(d.root)
		if err != nil {
			return fmt.Errorf("datastore: %w", err)
		}
		if !hasScheme(d.root) && !filepath.IsAbs(p) {
			p = expandVars(expandUser(p, s.getenv), s.getenv)
		}
		if d.root, err = filepath.Abs(p); err != nil {
			return fmt.Errorf("datastore: %w", err)
		}
	}
	switch records := m["records"].(type) {
	case map[string]any:
		if t := text(records["table"]); t != "" {
			d.table = t
		}
	case nil:
	default:
		return errors.New("datastore: records is no mapping")
	}
	c.datastores = append(c.datastores, d)
	return nil
}

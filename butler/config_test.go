package butler

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// files writes a directory of files for a test.
func files(t testing.TB, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// testSource has the environment env.
func testSource(env map[string]string) source {
	return source{getenv: func(k string) string { return env[k] }, log: slog.New(slog.DiscardHandler)}
}

const minimal = "datastore:\n  root: <butlerRoot>\nregistry:\n  db: sqlite:///<butlerRoot>/gen3.sqlite3\n"

func TestRepositoryNames(t *testing.T) {
	t.Parallel()
	dir := files(t, map[string]string{
		"repo/butler.yaml":       minimal,
		"repo/other.yaml":        minimal,
		"repo/conf.json":         `{"registry": {"db": "sqlite:///<butlerRoot>/gen3.sqlite3"}}`,
		"a b/100%25/butler.yaml": minimal,
		"index.yaml":             "/repo/main: DIR/repo\nlabel: file://DIR/repo/other.yaml\nspace: file://DIR/a%20b/100%2525\nvar: $WHERE/repo\nremote: s3://user:secret@bucket/x\nempty: DIR/nothing\n",
		"bad.yaml":               "a: [1]\n",
		"broken.yaml":            "a: [\n",
	})
	index, err := os.ReadFile(filepath.Join(dir, "index.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "index.yaml"), []byte(strings.ReplaceAll(string(index), "DIR", dir)), 0o644); err != nil {
		t.Fatal(err)
	}
	byFile := map[string]string{"DAF_BUTLER_REPOSITORY_INDEX": dir + "/index.yaml", "WHERE": dir, "HOME": dir}
	byURI := map[string]string{"DAF_BUTLER_REPOSITORY_INDEX": "file://" + dir + "/index.yaml"}
	inline := map[string]string{"DAF_BUTLER_REPOSITORIES": fmt.Sprintf("{mine: %s/repo, /repo/main: %[1]s/repo}", dir)}
	both := map[string]string{"DAF_BUTLER_REPOSITORY_INDEX": dir + "/index.yaml", "DAF_BUTLER_REPOSITORIES": "{mine: x}"}
	for _, c := range []struct {
		repo string
		env  map[string]string
		file string // relative to dir
		err  string
	}{
		{dir + "/repo", nil, "repo/butler.yaml", ""},
		{dir + "/repo/", nil, "repo/butler.yaml", ""},
		{dir + "/repo/butler.yaml", nil, "repo/butler.yaml", ""},
		{dir + "/repo/other.yaml", nil, "repo/other.yaml", ""},
		{dir + "/repo/conf.json", nil, "repo/conf.json", ""},
		{"file://" + dir + "/repo", nil, "repo/butler.yaml", ""},
		{"file://" + dir + "/repo/other.yaml", nil, "repo/other.yaml", ""},
		{"file://localhost" + dir + "/repo", nil, "repo/butler.yaml", ""},
		{dir + "/a b/100%25", nil, "a b/100%25/butler.yaml", ""},
		{"/repo/main", byFile, "repo/butler.yaml", ""},
		{"/repo/main", byURI, "repo/butler.yaml", ""},
		{"/repo/main", inline, "repo/butler.yaml", ""},
		{"mine", inline, "repo/butler.yaml", ""},
		{"label", byFile, "repo/other.yaml", ""},
		{"space", byFile, "a b/100%25/butler.yaml", ""},
		{"var", byFile, "repo/butler.yaml", ""},
		{"$WHERE/repo", byFile, "repo/butler.yaml", ""},
		{"${WHERE}/repo", byFile, "repo/butler.yaml", ""},
		{"~/repo", byFile, "repo/butler.yaml", ""},
		{dir + "/repo", byFile, "repo/butler.yaml", ""},
		{dir + "/repo", both, "repo/butler.yaml", ""},
		{dir + "/repo", map[string]string{"DAF_BUTLER_REPOSITORY_INDEX": dir + "/none.yaml"}, "repo/butler.yaml", ""},
		{"/repo/mian", byFile, "", "no label of the index " + dir + "/index.yaml (labels: /repo/main, empty, label, remote, space, var), did you mean /repo/main?; as a path: there is no /repo/mian/butler.yaml"},
		{"/repo/main", both, "", "both DAF_BUTLER_REPOSITORY_INDEX and DAF_BUTLER_REPOSITORIES are set; as a path: there is no /repo/main/butler.yaml"},
		{"mine", map[string]string{"DAF_BUTLER_REPOSITORIES": "{mine: [x]}"}, "", "is no map from labels to repositories (see mine)"},
		{"mine", map[string]string{"DAF_BUTLER_REPOSITORIES": "{mine: "}, "", "cannot be read (not YAML"},
		{"mine", map[string]string{"DAF_BUTLER_REPOSITORIES": "text"}, "", "is no map from labels"},
		{"empty", byFile, "", "there is no " + dir + "/nothing/butler.yaml"},
		{"remote", byFile, "", "s3://user:***@bucket/x: only local files can be read: a configuration elsewhere cannot be opened"},
		{"https://example.org/repo", nil, "", "only local files can be read"},
		{"file://elsewhere/repo", nil, "", "names a file on host elsewhere"},
		{dir + "/index", nil, "", "there is no " + dir + "/index/butler.yaml"},
		{dir + "/repo/butler.yml", nil, "", "there is no"},
		{dir + "/repo/nothing.yaml", nil, "", "there is no " + dir + "/repo/nothing.yaml"},
		{dir, nil, "", "there is no " + dir + "/butler.yaml"},
		{"", nil, "", "no repository given"},
	} {
		got, err := testSource(c.env).openConfig(c.repo)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %s", c.repo, err, c.err)
			} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %q", c.repo, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.repo, err)
			continue
		}
		if want := filepath.Join(dir, c.file); got.file != want {
			t.Errorf("%s: %s, want %s", c.repo, got.file, want)
		}
		if want := "sqlite:///" + filepath.Dir(filepath.Join(dir, c.file)) + "/gen3.sqlite3"; got.db != want {
			t.Errorf("%s: %s, want %s", c.repo, got.db, want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "repo/plain.yml"), []byte(minimal), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := testSource(nil).openConfig(dir + "/repo/plain.yml"); err == nil || !strings.Contains(err.Error(), "neither a directory nor a .yaml or .json file") {
		t.Error(err)
	}
}

func TestConfigurations(t *testing.T) {
	t.Parallel()
	const chained = "datastore: {cls: a.ChainedDatastore, datastores: [{cls: a.InMemoryDatastore}, {datastore: {cls: a.FileDatastore, root: <butlerRoot>/one, name: One}}, {datastore: {datastore: {root: s3://bucket/two, records: {table: two}}}}, {cls: a.ChainedDatastore, datastores: [{root: /three}]}]}\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		env   map[string]string
		check func(c *repoConfig, dir string) any
		want  any
		err   string
	}{
		{
			"defaults",
			map[string]string{"butler.yaml": "{}"},
			nil, func(c *repoConfig, dir string) any {
				return []any{c.db == "sqlite:///"+dir+"/gen3.sqlite3", c.datastores[0].root == dir+"/datastore", c.datastores[0].table, c.datastores[0].name, c.namespace}
			},
			[]any{true, true, "file_datastore_records", "FileDatastore@<butlerRoot>/datastore", ""},
			"",
		},
		{"empty file", map[string]string{"butler.yaml": ""}, nil, func(c *repoConfig, dir string) any { return c.datastores[0].table }, "file_datastore_records", ""},
		{"root", map[string]string{"butler.yaml": "root: /data/x\ndatastore: {root: <butlerRoot>/y}\n"}, nil, func(c *repoConfig, dir string) any { return []string{c.db, c.datastores[0].root} }, []string{"sqlite:////data/x/gen3.sqlite3", "/data/x/y"}, ""},
		{"root as URI", map[string]string{"butler.yaml": "root: file:///data/a%20b/\ndatastore: {root: <butlerRoot>}\n"}, nil, func(c *repoConfig, dir string) any { return []string{c.db, c.datastores[0].root} }, []string{"sqlite:////data/a b/gen3.sqlite3", "/data/a b"}, ""},
		{"remote root", map[string]string{"butler.yaml": "root: s3://bucket/x\nregistry: {db: 'postgresql://h/d'}\ndatastore: {root: <butlerRoot>}\n"}, nil, func(c *repoConfig, dir string) any { return c.datastores[0].root }, "s3://bucket/x", ""},
		{"environment in the root", map[string]string{"butler.yaml": "root: $DATA/x\ndatastore: {root: <butlerRoot>}\n"}, map[string]string{"DATA": "/d"}, func(c *repoConfig, dir string) any { return c.datastores[0].root }, "/d/x", ""},
		{"namespace and parts", map[string]string{"butler.yaml": "registry: {db: 'postgresql://h', namespace: prelim1, username: u, password: p, port: 5433, database: d}\n"}, nil, func(c *repoConfig, dir string) any {
			return []string{c.namespace, c.username, c.password, c.port, c.database}
		}, []string{"prelim1", "u", "p", "5433", "d"}, ""},
		{"nested", map[string]string{"butler.yaml": "registry: {registry: {db: 'sqlite:///x'}}\ndatastore: {datastore: {datastore: {root: /r}}}\n"}, nil, func(c *repoConfig, dir string) any { return []string{c.db, c.datastores[0].root} }, []string{"sqlite:///x", "/r"}, ""},
		{"chained", map[string]string{"butler.yaml": chained}, nil, func(c *repoConfig, dir string) any {
			var s []string
			for _, d := range c.datastores {
				s = append(s, d.name+" "+strings.TrimPrefix(d.root, dir)+" "+d.table)
			}
			return s
		}, []string{"One /one file_datastore_records", "FileDatastore@s3://bucket/two s3://bucket/two two", "FileDatastore@/three /three file_datastore_records"}, ""},
		{"overrides", map[string]string{"butler.yaml": "registry: {managers: {datasets: {cls: x.Y, config: {overrides: {a: {rename: b, storageClass: S}}}}}}\n"}, nil, func(c *repoConfig, dir string) any { return c.overrides }, map[string]datasetTypeOverride{"a": {"b", "S"}}, ""},
		{"include", map[string]string{"butler.yaml": "registry: !include sub/reg.yaml\n", "sub/reg.yaml": "db: !include db.yaml\n", "sub/db.yaml": "sqlite:///inc\n"}, nil, func(c *repoConfig, dir string) any { return c.db }, "sqlite:///inc", ""},
		{"include a list and a map", map[string]string{"butler.yaml": "datastore: {cls: ChainedDatastore, datastores: !include [a.yaml, b.yaml]}\nregistry: !include {db: db.yaml}\n", "a.yaml": "root: /a\n", "b.yaml": "root: /b\n", "db.yaml": "sqlite:///m\n"}, nil, func(c *repoConfig, dir string) any { return []string{c.db, c.datastores[0].root, c.datastores[1].root} }, []string{"sqlite:///m", "/a", "/b"}, ""},
		{"includeConfigs", map[string]string{"butler.yaml": "includeConfigs: [one.yaml, $TWO]\nregistry: {namespace: mine}\n", "one.yaml": "registry: {db: 'sqlite:///one', namespace: one}\nroot: /one\n", "two.yaml": "registry: {db: 'sqlite:///two'}\n"}, map[string]string{"TWO": "two.yaml"}, func(c *repoConfig, dir string) any { return []string{c.db, c.namespace, c.datastores[0].root} }, []string{"sqlite:///two", "mine", "/one/datastore"}, ""},
		{"includeConfigs below", map[string]string{"butler.yaml": "registry:\n  includeConfigs: reg.yaml\n  namespace: mine\n", "reg.yaml": "db: 'sqlite:///r'\nnamespace: r\n"}, nil, func(c *repoConfig, dir string) any { return []string{c.db, c.namespace} }, []string{"sqlite:///r", "mine"}, ""},
		{"anchors and merges", map[string]string{"butler.yaml": "x: &x {db: 'sqlite:///x', namespace: a}\nregistry: {<<: *x, namespace: b}\ndatastore: &d {root: /r}\ny: [*d, *d]\n"}, nil, func(c *repoConfig, dir string) any { return []string{c.db, c.namespace} }, []string{"sqlite:///x", "b"}, ""},
		{"unknown keys", map[string]string{"butler.yaml": "a: {b: [1, 2.5, null, true]}\nregistry: {skypix: {x: y}, managers: {obscore: {cls: z, config: {}}}}\ndatastore: {formatters: {a: b}, cached: {default: true}, create: true}\n"}, nil, func(c *repoConfig, dir string) any { return len(c.datastores) }, 1, ""},
		{"direct", map[string]string{"butler.yaml": "cls: lsst.daf.butler.direct_butler.DirectButler\n"}, nil, func(c *repoConfig, dir string) any { return len(c.datastores) }, 1, ""},

		{"remote butler", map[string]string{"butler.yaml": "cls: lsst.daf.butler.remote_butler.RemoteButler\nremote_butler: {url: 'https://x'}\n"}, nil, nil, nil, "it names a RemoteButler (lsst.daf.butler.remote_butler.RemoteButler)"},
		{"unknown class", map[string]string{"butler.yaml": "cls: my.Butler\n"}, nil, nil, nil, "unknown class of Butler my.Butler"},
		{"unknown datastore", map[string]string{"butler.yaml": "datastore: {cls: my.Store}\n"}, nil, nil, nil, "datastore: unknown class my.Store"},
		{"in memory", map[string]string{"butler.yaml": "datastore: {cls: x.InMemoryDatastore}\n"}, nil, nil, nil, "its datastores are all in memory"},
		{"in memory, chained", map[string]string{"butler.yaml": "datastore: {cls: x.ChainedDatastore, datastores: [{datastore: {cls: x.InMemoryDatastore}}]}\n"}, nil, nil, nil, "its datastores are all in memory"},
		{"an empty chain", map[string]string{"butler.yaml": "datastore: {cls: x.ChainedDatastore, datastores: []}\n"}, nil, nil, nil, "the ChainedDatastore has an empty list of datastores"},
		{"guessing", map[string]string{"butler.yaml": "datastore: {trust_get_request: true}\n"}, nil, nil, nil, "trust_get_request is set"},
		{"chain of nothing", map[string]string{"butler.yaml": "datastore: {cls: ChainedDatastore}\n"}, nil, nil, nil, "without a list of datastores"},
		{"a list", map[string]string{"butler.yaml": "[1, 2]\n"}, nil, nil, nil, "is no mapping"},
		{"a list as registry", map[string]string{"butler.yaml": "registry: [1]\n"}, nil, nil, nil, "registry is no mapping"},
		{"broken", map[string]string{"butler.yaml": "a: [1\nb: }"}, nil, nil, nil, "not YAML"},
		{"include nothing", map[string]string{"butler.yaml": "a: !include none.yaml\n"}, nil, nil, nil, "none.yaml: no such file"},
		{"include itself", map[string]string{"butler.yaml": "a: !include butler.yaml\n"}, nil, nil, nil, "butler.yaml includes itself"},
		{"include by URI", map[string]string{"butler.yaml": "a: !include https://x/y.yaml\n"}, nil, nil, nil, "only local files can be read"},
		{"includeConfigs nothing", map[string]string{"butler.yaml": "includeConfigs: none.yaml\n"}, nil, nil, nil, "includeConfigs: no file none.yaml"},
		{"includeConfigs itself", map[string]string{"butler.yaml": "includeConfigs: butler.yaml\n"}, nil, nil, nil, "butler.yaml includes itself"},
		{"an alias of itself", map[string]string{"butler.yaml": "a: &a [*a]\n"}, nil, nil, nil, "contains itself"},
		{"a merge of itself", map[string]string{"butler.yaml": "a: &a {<<: *a}\n"}, nil, nil, nil, "contains itself"},
		{"aliases of aliases", map[string]string{"butler.yaml": bomb()}, nil, nil, nil, "more than"},
		{"deep", map[string]string{"butler.yaml": "a: " + strings.Repeat("[", 500) + strings.Repeat("]", 500)}, nil, nil, nil, "nested deeper"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := files(t, c.files)
			got, err := testSource(c.env).openConfig(dir)
			if c.err != "" {
				var repo *RepoError
				if err == nil || !strings.Contains(err.Error(), c.err) || !errors.As(err, &repo) {
					t.Errorf("%v, want %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if have := c.check(got, dir); !reflect.DeepEqual(have, c.want) {
				t.Errorf("%v, want %v", have, c.want)
			}
		})
	}
}

// bomb is the "billion laughs" of YAML.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [", i, i)
		for range 10 {
			fmt.Fprintf(&b, "*a%d, ", i-1)
		}
		b.WriteString("x]\n")
	}
	return b.String()
}

func FuzzConfig(f *testing.F) {
	for _, s := range []string{minimal, "a: &a [*a]", bomb(), "cls: x.ChainedDatastore\ndatastore: {datastores: [{root: <butlerRoot>}]}", "registry: !include x\n", "includeConfigs: [a, b]\n", "<<: {a: b}\n", "? [a]\n: b", "\x00"} {
		f.Add(s, false)
	}
	f.Add(`{"registry": {"db": 5}}`, true)
	f.Fuzz(func(t *testing.T, text string, json bool) {
		// Includes must find nothing: they would read files of this machine.
		if strings.Contains(text, "include") {
			return
		}
		l := &treeLoader{getenv: func(string) string { return "" }}
		name := "/nowhere/butler.yaml"
		if json {
			name = "/nowhere/butler.json"
		}
		tree, err := l.parse([]byte(text), name, 0)
		if err != nil {
			return
		}
		tree, err = l.includeConfigs(tree, "/nowhere", 0)
		if m, ok := tree.(map[string]any); ok && err == nil {
			c, err := testSource(nil).readConfig(m, name)
			if err == nil {
				_, _, _ = c.dbURL(func(string) string { return "" })
			}
		}
	})
}

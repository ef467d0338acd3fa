// Package deps pins modules while the tree is being laid; it goes away.
package deps

import (
	_ "github.com/apache/arrow-go/v18/arrow/extensions"
	_ "github.com/apache/arrow-go/v18/parquet/pqarrow"
	_ "github.com/dustin/go-humanize"
	_ "github.com/fergusstrange/embedded-postgres"
	_ "github.com/jackc/pglogrepl"
	_ "github.com/jackc/pgx/v5"
	_ "github.com/klauspost/compress/zstd"
	_ "github.com/schollz/progressbar/v3"
	_ "github.com/spf13/pflag"
	_ "go.uber.org/goleak"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/term"
	_ "gopkg.in/yaml.v3"
	_ "modernc.org/sqlite"
)

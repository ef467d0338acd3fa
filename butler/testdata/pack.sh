#!/bin/sh
# Packs a directory that make_repos.py made into testdata/NAME.tar.gz, the same bytes for the same files.
#   pack.sh OUT NAME MEMBER...
set -eu
out=$1 name=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
tar -C "$out" --sort=name --mtime=2025-01-01 --owner=0 --group=0 --numeric-owner -cf - "$@" | gzip -9n >"$here/$name.tar.gz"
ls -l "$here/$name.tar.gz"

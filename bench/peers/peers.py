#!/usr/bin/env python3
"""Time fast-export beside other ways from Postgres to one zstd Parquet file, in one interleaved run.

    bench/peers/peers.py --dsn "host=… dbname=…" --table obs_sbn [--rounds 5] [--only NAME …]

Every way reads the same table of the same server and writes zstd Parquet, level 1, with row groups of 1,000,000 rows, where the
tool lets one choose; what each file of round 0 really has is printed. A way that fails is told and left out, the others go on; the
exit code is 1 then. A round runs each way once, in turn, so that drift of the machine hits all alike; figures are medians over
the rounds, and ratios are medians of the rounds' own ratios. Memory is the largest resident set of the process (of the
largest one where a way needs several). Server CPU is what the postmaster's ended children used meanwhile.

The ways (with the name for --only):
    fast-export      binary transport, --parallel 4
    fast-export-csv  CSV transport, --parallel 4
    ddpp             the old tool: psycopg2 COPY as CSV into one file, pyarrow.csv, ParquetWriter without dictionary
    duckdb           DuckDB's postgres extension, COPY (SELECT * FROM pg.t) TO … (FORMAT parquet, COMPRESSION zstd, …)
    connectorx       ConnectorX with 4 partitions on --key, then pyarrow
    adbc             ADBC's Postgres driver, streamed into pyarrow's ParquetWriter
    pg2parquet       pg2parquet export (from crates.io; --pg2parquet PATH)
    floor-csv        4 connections COPY ctid ranges as CSV, bytes thrown away: what the server needs by itself
    floor-binary     the same in binary
"""
import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from urllib.parse import quote, urlencode

ROW_GROUP = 1_000_000
LEVEL = 1


def write_batches(writer, reader):
    """Writes batches in row groups of ROW_GROUP rows: a batch by itself would begin one."""
    import pyarrow as pa

    held, rows = [], 0
    for batch in reader:
        held.append(batch)
        rows += batch.num_rows
        while rows >= ROW_GROUP:
            t = pa.Table.from_batches(held)
            writer.write_table(t.slice(0, ROW_GROUP), row_group_size=ROW_GROUP)
            rest = t.slice(ROW_GROUP)
            held, rows = rest.to_batches(), rest.num_rows
    if rows:
        writer.write_table(pa.Table.from_batches(held), row_group_size=ROW_GROUP)


def ddpp(dsn, table, out, tmp):
    import psycopg2
    import pyarrow as pa
    import pyarrow.csv as pacsv
    import pyarrow.parquet as pq

    kinds = {16: pa.bool_(), 21: pa.int16(), 23: pa.int32(), 20: pa.int64(), 700: pa.float32(), 701: pa.float64(), 1700: pa.float64(),
             1082: pa.date32(), 1114: pa.timestamp("us"), 1184: pa.timestamp("us", tz="UTC")}
    conn = psycopg2.connect(dsn)
    cur = conn.cursor()
    cur.execute("SET extra_float_digits = 3")
    cur.execute(f"SELECT * FROM {table} LIMIT 0")
    types = {d.name: kinds.get(d.type_code, pa.string()) for d in cur.description}
    path = os.path.join(tmp, "rows.csv")
    with open(path, "wb") as f:
        cur.copy_expert(f"COPY (SELECT * FROM {table}) TO STDOUT WITH (FORMAT csv)", f)
    conn.close()
    schema = pa.schema(list(types.items()))
    reader = pacsv.open_csv(
        path,
        read_options=pacsv.ReadOptions(column_names=list(types), block_size=64 << 20),
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(column_types=types, true_values=["t"], false_values=["f"], strings_can_be_null=True,
                                             timestamp_parsers=[pacsv.ISO8601, "%Y-%m-%d %H:%M:%S.%f+00", "%Y-%m-%d %H:%M:%S+00"]))
    with pq.ParquetWriter(out, schema, compression="zstd", compression_level=LEVEL, use_dictionary=False) as writer:
        write_batches(writer, reader)


def duckdb_(dsn, table, out, tmp):
    import duckdb
    import importlib.util

    con = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    try:
        con.load_extension("postgres_scanner")
    except Exception:
        spec = importlib.util.find_spec("duckdb_extension_postgres_scanner")
        import pathlib
        files = list(pathlib.Path(spec.submodule_search_locations[0]).rglob("*.duckdb_extension"))
        con.execute(f"LOAD '{files[0]}'")
    con.execute(f"ATTACH '{dsn}' AS pg (TYPE postgres, READ_ONLY)")
    con.execute(f"COPY (SELECT * FROM pg.{table}) TO '{out}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL {LEVEL}, ROW_GROUP_SIZE {ROW_GROUP})")


def settings(dsn):
    """The DSN's keys and values. Source: the manual's section "Keyword/Value Connection Strings"."""
    word = re.compile(r"""\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)(?:\s+|$)""")
    parts, at = {}, 0
    while at < len(dsn.rstrip()):
        m = word.match(dsn, at)
        if not m:
            sys.exit("--dsn is not of the form key=value key='another value'")
        value = m[2][1:-1] if m[2].startswith("'") else m[2]
        parts[m[1]] = re.sub(r"\\(.)", r"\1", value)
        at = m.end()
    return parts


def url(dsn, slash=None):
    """The DSN as a URL; a socket's directory as a parameter, or as the host with this in place of its slashes."""
    parts = settings(dsn)
    password = ":" + quote(parts.pop("password"), "") if "password" in parts else ""
    q = f"postgresql://{quote(parts.pop('user', 'postgres'), '')}{password}@"
    host, port, name = parts.pop("host", "/var/run/postgresql"), parts.pop("port", "5432"), quote(parts.pop("dbname", "postgres"), "")
    if host.startswith("/") and slash:
        q += f"{host.replace('/', slash)}:{port}/{name}"
    elif host.startswith("/"):
        q += f"/{name}"
        parts.update(host=host, port=port)
    else:
        q += f"{host}:{port}/{name}"
    return q + ("?" + urlencode(parts) if parts else "")


def connectorx(dsn, table, out, tmp, key="id"):
    import connectorx as cx
    import pyarrow.parquet as pq

    t = cx.read_sql(url(dsn, "%2F"), f"SELECT * FROM {table}", return_type="arrow", partition_on=key, partition_num=4)
    pq.write_table(t, out, compression="zstd", compression_level=LEVEL, row_group_size=ROW_GROUP)


def adbc(dsn, table, out, tmp):
    import adbc_driver_postgresql.dbapi as pg
    import pyarrow.parquet as pq

    with pg.connect(url(dsn)) as conn, conn.cursor() as cur:
        cur.execute(f"SELECT * FROM {table}")
        reader = cur.fetch_record_batch()
        with pq.ParquetWriter(out, reader.schema, compression="zstd", compression_level=LEVEL) as w:
            write_batches(w, reader)


def postmaster_cpu(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def postmaster(dsn):
    """The postmaster's pid, if the server is on this machine and may be looked at."""
    try:
        d = subprocess.check_output(["psql", "-XAtq", dsn, "-c", "SHOW data_directory"], text=True).strip()
        with open(os.path.join(d, "postmaster.pid")) as f:
            return int(f.readline())
    except (OSError, subprocess.CalledProcessError):
        return None


def floor(dsn, table, fmt):
    """Shell commands of 4 connections that share the table's pages and throw the bytes away."""
    pages = int(subprocess.check_output(["psql", "-XAtq", dsn, "-c", f"SELECT pg_relation_size('{table}') / current_setting('block_size')::int"], text=True))
    size = 1024
    chunks = [(lo, min(lo + size, pages)) for lo in range(0, pages, size)]
    cols = subprocess.check_output(["psql", "-XAtq", dsn, "-c", f"SELECT string_agg(quote_ident(attname), ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped"], text=True).strip()
    scripts = []
    for w in range(4):
        lines = ["SET extra_float_digits = 3; SET timezone = 'UTC'; SET jit = off; SET max_parallel_workers_per_gather = 0;\n"]
        for lo, hi in chunks[w::4]:
            lines.append(f"COPY (SELECT {cols} FROM {table} WHERE ctid >= '({lo},0)' AND ctid < '({hi},0)') TO STDOUT (FORMAT {fmt});\n")
        scripts.append("".join(lines))
    return scripts


def run_floor(dsn, scripts):
    procs = [subprocess.Popen(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", dsn, "-o", "/dev/null"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) for _ in scripts]
    for p, s in zip(procs, scripts):
        try:
            p.stdin.write(s.encode())
            p.stdin.close()
        except BrokenPipeError:  # it has ended, which measure sees
            pass
    return procs


class Failed(Exception):
    """A way that did not end well, or made a file that it should not."""


def measure(start, pm):
    """Wall and CPU seconds and peak memory (bytes) of the processes that start() starts. When one fails the others are ended."""
    before = postmaster_cpu(pm) if pm else 0
    t0 = time.monotonic()
    try:
        procs = start()
    except OSError as e:
        raise Failed(e) from None
    cpu, rss, failed = 0.0, 0, None
    running = {p.pid: p for p in procs}
    try:
        while running:
            pid, status, use = os.wait4(-1, 0)
            p = running.pop(pid, None)
            if p is None:
                continue
            p.returncode = os.waitstatus_to_exitcode(status)
            cpu += use.ru_utime + use.ru_stime
            rss = max(rss, use.ru_maxrss * 1024)
            if p.returncode != 0 and failed is None:
                failed = f"{os.path.basename(p.args[0])} ended with {p.returncode}"
                for other in running.values():
                    other.terminate()
    finally:
        for p in running.values():  # an interrupt
            p.kill()
    wall = time.monotonic() - t0
    if failed:
        raise Failed(failed)
    server = None
    if pm:
        time.sleep(0.2)  # backends end a little after their clients
        server = postmaster_cpu(pm) - before
    return wall, cpu, rss, server


def written(path):
    """What a file's metadata say of its codec and row groups. The level is not in a file: each way above sets it, if it can."""
    import pyarrow.parquet as pq

    m = pq.ParquetFile(path).metadata
    codecs = sorted({m.row_group(g).column(c).compression for g in range(m.num_row_groups) for c in range(m.num_columns)})
    # To 1 %: DuckDB's row groups are of whole vectors of 2,048 rows.
    groups = [m.row_group(g).num_rows for g in range(m.num_row_groups)]
    return {"codec": "/".join(codecs), "rows": m.num_rows, "groups": len(groups), "largest": max(groups, default=0),
            "as asked": codecs == ["ZSTD"] and all(n > 0.99 * ROW_GROUP for n in groups[:-1]) and max(groups, default=0) < 1.01 * ROW_GROUP}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--dsn", required=True, help="key=value connection string")
    ap.add_argument("--table", required=True)
    ap.add_argument("--key", default="id", help="integer column that ConnectorX partitions on")
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--only", nargs="*", default=None)
    ap.add_argument("--fast-export", default="./fast-export", help="the binary")
    ap.add_argument("--flags", nargs="*", default=[], help="further flags of fast-export, as FLAG=VALUE without the leading dashes")
    ap.add_argument("--pg2parquet", default=shutil.which("pg2parquet"))
    ap.add_argument("--json", help="write the figures here")
    ap.add_argument("--way", help=argparse.SUPPRESS)
    ap.add_argument("--out", help=argparse.SUPPRESS)
    ap.add_argument("--tmp", help=argparse.SUPPRESS)
    ap.add_argument("--look", help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.look:
        print(json.dumps(written(a.look)))
        return
    if a.way:
        ways = {"ddpp": ddpp, "duckdb": duckdb_, "adbc": adbc,
                "connectorx": lambda d, t, o, tmp: connectorx(d, t, o, tmp, a.key)}
        try:
            ways[a.way](a.dsn, a.table, a.out, a.tmp)
        except Exception as e:
            sys.exit(f"{a.way}: {type(e).__name__}: {(str(e).strip().splitlines() or [''])[0]}")
        return

    tmp = tempfile.mkdtemp(prefix="fast-export-peers-")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what stands in finally is done
    try:
        run(a, tmp)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)


def run(a, tmp):
    pm = postmaster(a.dsn)
    self_ = [sys.executable, os.path.abspath(__file__), "--dsn", a.dsn, "--table", a.table, "--key", a.key, "--tmp", tmp]
    ours = [a.fast_export, "--dsn", a.dsn, "--table", a.table, "--parallel", "4", "--quiet", "--progress", "none"] + ["--" + f for f in a.flags]

    def out(name):
        return os.path.join(tmp, name + ".parquet")

    commands = {
        "fast-export": lambda: [subprocess.Popen(ours + ["--out", out("fast-export"), "--transport", "binary"])],
        "fast-export-csv": lambda: [subprocess.Popen(ours + ["--out", out("fast-export-csv"), "--transport", "csv"])],
    }
    for w in ("ddpp", "duckdb", "connectorx", "adbc"):
        commands[w] = lambda w=w: [subprocess.Popen(self_ + ["--way", w, "--out", out(w)])]
    if a.pg2parquet:
        parts = settings(a.dsn)
        cmd = [a.pg2parquet, "export", "--host", parts.get("host", "localhost"), "--port", parts.get("port", "5432"), "--user", parts.get("user", "postgres"),
               "--dbname", parts.get("dbname", "postgres"), "-t", a.table, "-o", out("pg2parquet"), "--compression", "zstd", "--compression-level", str(LEVEL), "--quiet", "--password", parts.get("password", "")]
        commands["pg2parquet"] = lambda: [subprocess.Popen(cmd)]
    floors = {"floor-" + fmt: fmt for fmt in ("csv", "binary")}
    known = list(commands) + list(floors)
    unknown = sorted(set(a.only or []) - set(known))
    if unknown:
        sys.exit(f"unknown or not installed: {', '.join(unknown)}; there are {', '.join(known)}")
    for name, fmt in floors.items():
        if a.only and name not in a.only:
            continue
        try:
            scripts = floor(a.dsn, a.table, fmt)
        except (subprocess.CalledProcessError, OSError, ValueError) as e:
            sys.exit(f"the table {a.table} can't be looked at: {e.__class__.__name__}; what psql said of it stands above")
        commands[name] = lambda s=scripts: run_floor(a.dsn, s)
    commands = {k: v for k, v in commands.items() if not a.only or k in a.only}

    figures = {name: [] for name in commands}
    sizes, files, failed = {}, {}, {}
    for r in range(a.rounds + 1):  # round 0 warms caches and is not counted
        for name, start in commands.items():
            if name in failed:
                continue
            try:
                got = measure(start, pm)
                if not name.startswith("floor-"):
                    if not os.path.exists(out(name)):
                        raise Failed("it made no file")
                    sizes[name] = os.path.getsize(out(name))
                    if not r:
                        # By another process: a child's memory begins with its parent's, which is to stay small.
                        files[name] = json.loads(subprocess.check_output(self_ + ["--look", out(name)]))
            except (Failed, subprocess.CalledProcessError) as e:
                failed[name] = str(e)
                print(f"round {r} {name:16} failed: {e}", file=sys.stderr)
                continue
            finally:
                for left in os.listdir(tmp):
                    os.remove(os.path.join(tmp, left))
            if r:
                figures[name].append(got)
            print(f"round {r} {name:16} {got[0]:7.2f} s", file=sys.stderr)
    figures = {name: f for name, f in figures.items() if name not in failed}

    def med(name, i):
        vals = [f[i] for f in figures[name] if f[i] is not None]
        return statistics.median(vals) if vals else float("nan")

    print(f"{a.table}, {a.rounds} rounds, {os.cpu_count()} cores; medians")
    print(f"{'way':16} {'wall s':>8} {'client CPU s':>13} {'server CPU s':>13} {'peak MiB':>9} {'file MB':>8}  fast-export is")
    for name in figures:
        ratio = ""
        if "fast-export" in figures and name != "fast-export":
            ratio = f"{statistics.median(x[0] / y[0] for x, y in zip(figures['fast-export'], figures[name])):.2f} of its wall time"
        print(f"{name:16} {med(name, 0):8.2f} {med(name, 1):13.2f} {med(name, 3):13.2f} {med(name, 2) / 2**20:9.0f} {sizes.get(name, 0) / 1e6:8.1f}  {ratio}")
    if "fast-export" in figures and pm:
        bound = statistics.median(f[0] / ((f[1] + f[3]) / os.cpu_count()) for f in figures["fast-export"])
        print(f"fast-export's wall time is {bound:.2f} of (server CPU + its CPU) / cores")
    print("files:")
    for name, f in files.items():
        if name not in failed:
            print(f"{name:16} {f['codec']}, {f['rows']:,} rows in {f['groups']} row groups of at most {f['largest']:,}" + ("" if f["as asked"] else ": NOT as asked"))
    for name, why in failed.items():
        print(f"{name:16} failed: {why}")
    if a.json:
        with open(a.json, "w") as f:
            json.dump({"table": a.table, "cores": os.cpu_count(), "figures": figures, "sizes": sizes, "files": files, "failed": failed}, f, indent=1)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()

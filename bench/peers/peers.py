#!/usr/bin/env python3
"""Time fast-export beside other ways from Postgres to one zstd Parquet file, in one interleaved run.

    bench/peers/peers.py --dsn "host=… dbname=…" --table obs_sbn [--rounds 5] [--only NAME …]

Every way reads the same table of the same server and writes zstd Parquet with row groups of 1,000,000 rows where the tool
lets one choose. A round runs each way once, in turn, so that drift of the machine hits all alike; figures are medians over
the rounds, and ratios are medians of the rounds' own ratios. Memory is the largest resident set of the process (of the
largest one where a way needs several). Server CPU is what the postmaster's ended children used meanwhile.

The ways (with the name for --only):
    fast-export      binary transport, --parallel 4
    fast-export-csv  CSV transport, --parallel 4
    ddpp             the old tool: psycopg2 COPY as CSV into one file, pyarrow.csv, ParquetWriter without dictionary
    duckdb           DuckDB's postgres extension, COPY (SELECT * FROM pg.t) TO … (FORMAT parquet, COMPRESSION zstd)
    connectorx       ConnectorX with 4 partitions on --key, then pyarrow
    adbc             ADBC's Postgres driver, streamed into pyarrow's ParquetWriter
    pg2parquet       pg2parquet export (from crates.io; --pg2parquet PATH)
    floor-csv        4 connections COPY ctid ranges as CSV, bytes thrown away: what the server needs by itself
    floor-binary     the same in binary
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROW_GROUP = 1_000_000


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
    with pq.ParquetWriter(out, schema, compression="zstd", use_dictionary=False) as writer:
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
    con.execute(f"COPY (SELECT * FROM pg.{table}) TO '{out}' (FORMAT parquet, COMPRESSION zstd)")


def url(dsn, slash=None):
    """The DSN as a URL; a socket's directory as a parameter, or as the host with this in place of its slashes."""
    parts = dict(p.split("=", 1) for p in dsn.split())
    q = f"postgresql://{parts.get('user', 'postgres')}@"
    host, port = parts.get("host", "/var/run/postgresql"), parts.get("port", "5432")
    if host.startswith("/") and slash:
        host = host.replace("/", slash)
    if host.startswith("/"):
        return f"{q}/{parts['dbname']}?host={host}&port={port}"
    return f"{q}{host}:{port}/{parts['dbname']}"


def connectorx(dsn, table, out, tmp, key="id"):
    import connectorx as cx
    import pyarrow.parquet as pq

    t = cx.read_sql(url(dsn, "%2F"), f"SELECT * FROM {table}", return_type="arrow", partition_on=key, partition_num=4)
    pq.write_table(t, out, compression="zstd", row_group_size=ROW_GROUP)


def adbc(dsn, table, out, tmp):
    import adbc_driver_postgresql.dbapi as pg
    import pyarrow.parquet as pq

    with pg.connect(url(dsn)) as conn, conn.cursor() as cur:
        cur.execute(f"SELECT * FROM {table}")
        reader = cur.fetch_record_batch()
        with pq.ParquetWriter(out, reader.schema, compression="zstd") as w:
            for b in reader:
                w.write_batch(b, row_group_size=ROW_GROUP)


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
    procs = [subprocess.Popen(["psql", "-XAtq", dsn, "-o", "/dev/null"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) for _ in scripts]
    for p, s in zip(procs, scripts):
        p.stdin.write(s.encode())
        p.stdin.close()
    return procs


def measure(start, pm):
    """Wall and CPU seconds and peak memory (bytes) of the processes that start() starts."""
    before = postmaster_cpu(pm) if pm else 0
    t0 = time.monotonic()
    procs = start()
    cpu, rss = 0.0, 0
    for p in procs:
        _, status, use = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        cpu += use.ru_utime + use.ru_stime
        rss = max(rss, use.ru_maxrss * 1024)
        if p.returncode != 0:
            sys.exit(f"{p.args[:3]}… ended with {p.returncode}")
    wall = time.monotonic() - t0
    server = None
    if pm:
        time.sleep(0.2)  # backends end a little after their clients
        server = postmaster_cpu(pm) - before
    return wall, cpu, rss, server


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
    a = ap.parse_args()
    if a.way:
        ways = {"ddpp": ddpp, "duckdb": duckdb_, "adbc": adbc,
                "connectorx": lambda d, t, o, tmp: connectorx(d, t, o, tmp, a.key)}
        ways[a.way](a.dsn, a.table, a.out, a.tmp)
        return

    tmp = tempfile.mkdtemp(prefix="fast-export-peers-")
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
        parts = dict(p.split("=", 1) for p in a.dsn.split())
        cmd = [a.pg2parquet, "export", "--host", parts.get("host", "localhost"), "--port", parts.get("port", "5432"), "--user", parts.get("user", "postgres"),
               "--dbname", parts["dbname"], "-t", a.table, "-o", out("pg2parquet"), "--compression", "zstd", "--compression-level", "1", "--quiet", "--password", parts.get("password", "")]
        commands["pg2parquet"] = lambda: [subprocess.Popen(cmd)]
    for fmt in ("csv", "binary"):
        scripts = floor(a.dsn, a.table, fmt)
        commands["floor-" + fmt] = lambda s=scripts: run_floor(a.dsn, s)
    if a.only:
        unknown = set(a.only) - set(commands)
        if unknown:
            sys.exit(f"unknown or not installed: {', '.join(sorted(unknown))}; there are {', '.join(commands)}")
        commands = {k: v for k, v in commands.items() if k in a.only}

    figures = {name: [] for name in commands}
    sizes = {}
    try:
        for r in range(a.rounds + 1):  # round 0 warms caches and is not counted
            for name, start in commands.items():
                got = measure(start, pm)
                if os.path.exists(out(name)):
                    sizes[name] = os.path.getsize(out(name))
                    os.remove(out(name))
                if r:
                    figures[name].append(got)
                print(f"round {r} {name:16} {got[0]:7.2f} s", file=sys.stderr)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)

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
    if a.json:
        with open(a.json, "w") as f:
            json.dump({"table": a.table, "cores": os.cpu_count(), "figures": figures, "sizes": sizes}, f, indent=1)


if __name__ == "__main__":
    main()

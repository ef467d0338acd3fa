#!/usr/bin/env python3
"""Compare a Parquet file with the table it was exported from, without fast-export.

    validate.py --dsn "service=mpc_sbn" --table obs_sbn --file obs_sbn.parquet [--rows 1000]

Counts the rows, and compares every value of some rows, spread over the file, with what the server has now in the same
place: so run it on a table that nobody has written to since. Needs pyarrow and psycopg2. Exit code 0: nothing differs.
"""
import argparse
import datetime
import decimal
import json
import sys

import psycopg2
import pyarrow.parquet as pq


def same(a, b):
    if a is None or b is None:
        return a is None and b is None
    if isinstance(b, decimal.Decimal):
        return a == b or float(a) == float(b) or a != a and b.is_nan()
    if isinstance(b, float):
        return a == b or a != a and b != b
    if isinstance(b, (dict, list)) and isinstance(a, str):
        return json.loads(a) == b
    if isinstance(b, datetime.datetime) and b.tzinfo is not None:
        return a.astimezone(datetime.timezone.utc) == b.astimezone(datetime.timezone.utc)
    if isinstance(b, memoryview):
        return bytes(a) == bytes(b)
    return a == b or str(a) == str(b)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--dsn", required=True)
    ap.add_argument("--table", required=True)
    ap.add_argument("--file", required=True)
    ap.add_argument("--rows", type=int, default=1000, help="rows whose values are compared")
    a = ap.parse_args()

    table = pq.read_table(a.file)
    conn = psycopg2.connect(a.dsn)
    cur = conn.cursor()
    cur.execute("SET TimeZone = 'UTC'; SET synchronize_seqscans = off; SET max_parallel_workers_per_gather = 0; SET enable_indexscan = off; SET enable_bitmapscan = off")
    cur.execute(f"SELECT count(*) FROM {a.table}")
    count = cur.fetchone()[0]
    if count != table.num_rows:
        print(f"{a.file} has {table.num_rows} rows, {a.table} has {count}")
        return 1
    step = max(1, count // a.rows)
    cur.execute(f"SELECT {', '.join(chr(34) + n.replace(chr(34), chr(34) * 2) + chr(34) for n in table.column_names)} FROM {a.table}")
    bad = 0
    for i, row in enumerate(cur):
        if i % step:
            continue
        for name, want in zip(table.column_names, row):
            got = table[name][i].as_py()
            if isinstance(got, dict) or isinstance(got, list) and any(isinstance(x, dict) for x in got):
                continue  # structs have no counterpart in psycopg2
            if not same(got, want):
                bad += 1
                if bad <= 10:
                    print(f"row {i + 1}, {name}: the file has {got!r}, the server {want!r}")
    print(f"{count} rows, {(count + step - 1) // step if count else 0} compared, {bad} values differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

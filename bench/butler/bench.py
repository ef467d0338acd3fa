#!/usr/bin/env python3
"""Time `fast-export butler` beside the Python way to the same file, in one interleaved run.

    bench/butler/bench.py --repos DIR --binary bin/fast-export [--rounds 3] [--only filter full first-byte]

DIR is what make_repos.py made; `make bench-butler` does both. The Python way is today's program: for each dataset butler.get,
np.isin on the ids, astropy_to_arrow, ParquetWriter.write_table with zstd and no dictionary. A round runs each way once, in turn, so
that drift of the machine hits all alike; figures are medians over the rounds, ratios are medians of the rounds' own ratios. CPU is
user and system time of the process, memory its largest resident set. Python's start is part of its time, as it is of its users'.
Before the first round all files are read once, so that they are in the page cache as far as it goes. After the first round the
two files are compared.

first-byte is from the start of the process until the unfinished output holds bytes of rows, over a registry of many datasets,
all of them wanted; the process is then interrupted.
"""
import argparse
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time

RUN, TYPE, TARGET = "u/bench/run", "dia_source_visit", "diaSourceId"


def today(out, repo, id_file):
    """The loop that extract-catalog's users run."""
    import numpy as np
    import pyarrow.parquet as pq
    from lsst.daf.butler import Butler
    from lsst.daf.butler.formatters.parquet import astropy_to_arrow

    ids = None
    if id_file:
        ids = np.array([int(x) for x in pq.read_table(id_file, columns=["obssubid"])["obssubid"].to_pylist()], "i8")
    writer = None
    with Butler(repo, collections=RUN) as butler:
        for ref in butler.registry.queryDatasets(datasetType=TYPE, collections=RUN):
            table = butler.get(ref)
            if ids is not None:
                table = table[np.isin(table[TARGET], ids)]
            if len(table) == 0:
                continue
            arrow = astropy_to_arrow(table)
            if writer is None:
                writer = pq.ParquetWriter(out, arrow.schema, compression="zstd", use_dictionary=False)
            writer.write_table(arrow, row_group_size=len(arrow))
    if writer is not None:
        writer.close()


def measure(command):
    """Wall seconds, CPU seconds and peak MiB of a command."""
    start = time.monotonic()
    p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = p.stderr.read()
    _, status, use = os.wait4(p.pid, 0)
    wall = time.monotonic() - start
    p.returncode = os.waitstatus_to_exitcode(status)
    if p.returncode:
        sys.exit(f"{' '.join(command)}: exit code {p.returncode}\n{said.decode()}")
    return wall, use.ru_utime + use.ru_stime, use.ru_maxrss / 1024


def first_byte(binary, repo, folder):
    out = os.path.join(folder, "first.parquet")
    start = time.monotonic()
    p = subprocess.Popen([binary, "butler", out, repo, RUN, "--silent"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    took = None
    while took is None and p.poll() is None:
        time.sleep(0.002)  # looking more often would take of the cores
        for e in os.scandir(folder):
            try:
                if e.stat().st_size > 4:  # the magic number is no row
                    took = time.monotonic() - start
            except FileNotFoundError:
                pass
    p.send_signal(signal.SIGTERM)  # SIGINT is ignored by what a script starts in the background
    _, status, use = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    left = os.listdir(folder)
    if took is None or left:
        sys.exit(f"no bytes came, or some were left: {left}")
    return took, use.ru_utime + use.ru_stime, use.ru_maxrss / 1024


def same(a, b):
    """Both files have the same rows in all row groups, whatever the order of datasets."""
    import pyarrow.parquet as pq

    x, y = pq.ParquetFile(a), pq.ParquetFile(b)
    assert x.metadata.num_rows == y.metadata.num_rows and x.num_row_groups == y.num_row_groups, (x.metadata, y.metadata)
    groups = {y.read_row_group(i, columns=["visit"])["visit"][0].as_py(): i for i in range(y.num_row_groups)}
    assert len(groups) == y.num_row_groups, "a visit twice"
    for i in range(x.num_row_groups):
        left = x.read_row_group(i)
        right = y.read_row_group(groups.pop(left["visit"][0].as_py()))
        assert left.column_names == right.column_names
        for name in left.column_names:
            p, q = left[name].to_numpy(), right[name].to_numpy()
            assert p.dtype == q.dtype, (i, name)
            if p.dtype == object:
                assert left[name].equals(right[name].cast(left[name].type)), (i, name)
            else:
                assert p.tobytes() == q.tobytes(), (i, name)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--repos", required=True)
    p.add_argument("--binary", required=True)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--scratch", help="directory for outputs")
    p.add_argument("--only", nargs="+", choices=["filter", "full", "first-byte"], default=["filter", "full", "first-byte"])
    a = p.parse_args()
    catalogs, id_file = os.path.join(a.repos, "catalogs"), os.path.join(a.repos, "ids.parquet")
    version = subprocess.run([a.binary, "version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    with open(os.path.join(a.repos, "made")) as f:
        made = f.read().split()
    print(f"{made[0]} datasets of {made[1]} rows; {made[2]} in the other registry; {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; {version}")
    for root, _, files in os.walk(catalogs):
        for name in files:
            with open(os.path.join(root, name), "rb") as f:
                while f.read(1 << 20):
                    pass
    with tempfile.TemporaryDirectory(dir=a.scratch) as folder:
        for case, ids in (("filter", id_file), ("full", "")):
            if case not in a.only:
                continue
            fast, slow = os.path.join(folder, "fast.parquet"), os.path.join(folder, "python.parquet")
            ways = {
                "fast-export": [a.binary, "butler", fast, catalogs, RUN, "--silent", *(["--filter-ids", ids, "--filter-column", "obssubid"] if ids else [])],
                "python": [sys.executable, os.path.abspath(__file__), "--today", slow, catalogs, ids],
            }
            print(f"\n{case}: {' '.join(ways['fast-export'])}")
            runs, outs = {w: [] for w in ways}, {"fast-export": fast, "python": slow}
            for n in range(1, a.rounds + 1):
                for w, command in ways.items():
                    if os.path.exists(outs[w]):
                        os.remove(outs[w])
                    runs[w].append(measure(command))
                    print("  round {} {:12} {:7.2f} s wall {:7.2f} s CPU {:6.0f} MiB".format(n, w, *runs[w][-1]), flush=True)
                if n == 1:  # in another process: in here it would grow what a child begins with
                    subprocess.run([sys.executable, os.path.abspath(__file__), "--same", fast, slow], check=True)
            for w, rs in runs.items():
                wall, cpu, rss = (statistics.median(x) for x in zip(*rs))
                print(f"  median  {w:12} {wall:7.2f} s wall {cpu:7.2f} s CPU {rss:6.0f} MiB  {os.path.getsize(outs[w]) / 1e6:.1f} MB")
            ratio = [statistics.median(f[k] / s[k] for f, s in zip(runs["fast-export"], runs["python"])) for k in range(3)]
            print(f"  of Python's: {ratio[0]:.3f} of the wall time, {ratio[1]:.3f} of the CPU time, {ratio[2]:.3f} of the memory")
            os.remove(fast), os.remove(slow)
        if "first-byte" in a.only:
            took = [first_byte(a.binary, os.path.join(a.repos, "listed"), folder) for _ in range(max(10, a.rounds) + 1)][1:]
            wall, cpu, rss = zip(*took)
            print(f"\nfirst byte: median {statistics.median(wall):.3f} s wall, least {min(wall):.3f}, most {max(wall):.3f} of {len(took)}; "
                  f"{statistics.median(cpu):.3f} s CPU until interrupted; {statistics.median(rss):.0f} MiB")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--today"]:
        today(*sys.argv[2:])
    elif sys.argv[1:2] == ["--same"]:
        same(*sys.argv[2:])
    else:
        main()

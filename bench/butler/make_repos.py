#!/usr/bin/env python3
"""Make the two repositories that bench.py measures: run with the packages of internal/tools/setup/requirements.txt.

    make_repos.py OUT [--datasets 500] [--rows 20000] [--listed 100000]

OUT/catalogs has catalogs written by lsst-daf-butler, 60 columns each, shaped like a difference-image source catalog with invented
values; OUT/ids.parquet has, as text, the ids of 1 % of the rows of every one. OUT/listed has a registry of many datasets, all
recorded with one file of 1,000 rows, as one detector gives; they are put into its tables by SQL, as so many puts would take hours.
The same numbers give the same values.
"""
import argparse
import os
import shutil
import sqlite3
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy import units as u
from astropy.table import Table
from lsst.daf.butler import Butler, DatasetType

RUN, TYPE = "u/bench/run", "dia_source_visit"
WANTED = 0.01


def catalog(visit, rows):
    rng = np.random.default_rng(visit)
    t = Table()
    t["diaSourceId"] = (np.int64(visit) << 24) + np.sort(rng.choice(rows * 8, rows, replace=False))
    t["visit"] = np.full(rows, visit, "i8")
    t["detector"] = np.sort(rng.integers(0, 189, rows)).astype("i2")
    t["diaObjectId"] = rng.integers(1, 1 << 60, rows)
    t["midpointMjdTai"] = np.full(rows, 60800 + visit / 1000)
    t["ra"], t["dec"] = rng.uniform(0, 360, rows), rng.uniform(-90, 90, rows)
    t["band"] = np.full(rows, "g", "U1")
    for i in range(40):
        t[f"f{i}"] = (rng.normal(size=rows) * 1000).astype("f4" if i % 2 else "f8")
        t[f"f{i}"][rng.random(rows) < 0.02] = np.nan
        t[f"f{i}"].unit = u.nJy
    for i in range(12):
        t[f"flag{i}"] = rng.random(rows) < 1 / (2 + i)
    t["ra"].unit = t["dec"].unit = u.deg
    assert len(t.colnames) == 60
    return t


def empty_repo(root, dimensions):
    shutil.rmtree(root, ignore_errors=True)
    Butler.makeRepo(root)
    b = Butler.from_config(root, writeable=True, run=RUN)
    r = b.registry
    r.syncDimensionData("instrument", {"name": "Cam", "visit_max": 10**9, "exposure_max": 10**9, "detector_max": 200})
    r.syncDimensionData("physical_filter", {"instrument": "Cam", "name": "g_01", "band": "g"})
    r.syncDimensionData("day_obs", {"instrument": "Cam", "id": 20250101})
    r.registerDatasetType(DatasetType(TYPE, dimensions, "ArrowAstropy", universe=b.dimensions))
    return b


def visit_record(n):
    return {"instrument": "Cam", "id": n, "name": str(n), "physical_filter": "g_01", "day_obs": 20250101}


def make_catalogs(out, datasets, rows):
    b = empty_repo(os.path.join(out, "catalogs"), ("instrument", "visit"))
    b.registry.insertDimensionData("visit", *[visit_record(n) for n in range(1, datasets + 1)])
    rng, ids = np.random.default_rng(0), []
    for n in range(1, datasets + 1):
        t = catalog(n, rows)
        b.put(t, TYPE, instrument="Cam", visit=n)
        ids.append(rng.choice(np.asarray(t["diaSourceId"]), max(1, int(rows * WANTED)), replace=False))
    wanted = rng.permutation(np.concatenate(ids))
    pq.write_table(pa.table({"obssubid": wanted.astype("U").tolist()}), os.path.join(out, "ids.parquet"))


def make_listed(out, listed, rows=1000):
    root = os.path.join(out, "listed")
    b = empty_repo(root, ("instrument", "visit", "detector"))
    per = 100
    b.registry.insertDimensionData("detector", *[{"instrument": "Cam", "id": d, "full_name": f"d{d}"} for d in range(per)])
    b.registry.insertDimensionData("visit", *[visit_record(n) for n in range(1, (listed + per - 1) // per + 1)])
    first = b.put(catalog(1, rows), TYPE, instrument="Cam", visit=1, detector=0)
    rng = np.random.default_rng(0)
    db = sqlite3.connect(os.path.join(root, "gen3.sqlite3"))

    def row(table):
        cur = db.execute(f"SELECT * FROM {table} WHERE {'id' if table == 'dataset' else 'dataset_id'} = ?", (first.id.hex,))
        return [d[0] for d in cur.description], cur.fetchone()

    tags = db.execute("SELECT tag_association_table FROM dataset_type WHERE name = ?", (TYPE,)).fetchone()[0]
    shapes = {t: row(t) for t in ("dataset", tags, "file_datastore_records", "dataset_location")}
    for i in rng.permutation(np.arange(1, listed)).tolist():
        change = {"dataset_id": uuid.UUID(bytes=rng.bytes(16)).hex, "visit": 1 + i // per, "detector": i % per}
        change["id"] = change["dataset_id"]
        for table, (names, values) in shapes.items():
            db.execute(f"INSERT INTO {table} VALUES ({','.join('?' * len(names))})", [change.get(n, v) for n, v in zip(names, values)])
    db.commit()
    db.close()


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("--datasets", type=int, default=500)
    p.add_argument("--rows", type=int, default=20_000)
    p.add_argument("--listed", type=int, default=100_000)
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    make_listed(a.out, a.listed)
    make_catalogs(a.out, a.datasets, a.rows)
    with open(os.path.join(a.out, "made"), "w") as f:
        f.write(f"{a.datasets} {a.rows} {a.listed}\n")

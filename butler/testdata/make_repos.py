"""Create real Butler repositories plus golden answers for the Go tests. Run with the packages of internal/tools/setup/requirements.txt.

  python make_repos.py OUT                                  SQLite: plain, namekey, v1; also chained, zip and zoo
  python make_repos.py OUT --pg postgresql+psycopg2://user@127.0.0.1:5432/db       the same three in Postgres schemas
  python make_repos.py OUT --golden REPO                    golden answers for a repository made by another release

OUT/<backend>_<variant> is a repository, ..._external a file outside of its root, ..._golden/golden.json the answers:
"queries" (what is listed), "tables" (what each dataset is, or the error) and "base" (OUT as it was: absolute paths in
a repository begin with it); ..._golden/arrow/<dataset id>.arrow are the tables, as Python gives them.
"""
import argparse, glob, json, logging, os, shutil, warnings
import astropy.time, numpy as np
from lsst.daf.butler import Butler, CollectionType, Config, DatasetRef, DatasetType, FileDataset, Timespan

T = lambda s: astropy.time.Time(s, format="iso", scale="tai")          # registry times are TAI

# (name, dimensions, storage class, is calibration) -- one line per dataset type
TYPES = [
    ("dia_source_visit",  ("instrument", "visit"),             "ArrowAstropy",   False),
    ("source_df",         ("instrument", "visit"),             "DataFrame",      False),
    ("tab_arrow",         ("instrument", "visit", "detector"), "ArrowTable",     False),
    ("tab_odd",           ("instrument", "visit", "detector"), "ArrowTable",     False),
    ("tab_numpy",         ("instrument", "detector"),          "ArrowNumpy",     False),
    ("tab_npdict",        ("instrument", "detector"),          "ArrowNumpyDict", False),
    ("object_patch",      ("skymap", "tract", "patch"),        "ArrowAstropy",   False),
    ("calib_tab",         ("instrument", "detector"),          "ArrowAstropy",   True),
    ("nodim_tab",         (),                                  "ArrowAstropy",   False),
    ("not_parquet",       ("instrument", "visit"),             "StructuredDataDict", False),
    ("legacy_parq",       ("instrument", "visit"),             "ArrowAstropy",   False),
    ("v26_yaml",          ("instrument", "visit"),             "ArrowTable",     False),
]

def astropy_table(n, width=3, seed=0):
    """Every column kind that ArrowAstropy can hold; `width` changes the string width per visit."""
    from astropy import units as u
    from astropy.table import Table
    rng, t = np.random.default_rng(seed), Table()
    t["diaSourceId"] = np.arange(n, dtype="i8") + 10**12 * (seed + 1)
    t["detector"] = (np.arange(n) % 4).astype("i2")
    t["ra"] = rng.uniform(0, 360, n); t["ra"].unit = u.deg; t["ra"].description = "Right ascension, ICRS"
    t["psfFlux"] = rng.normal(size=n).astype("f4"); t["psfFlux"].unit = u.nJy
    if n: t["psfFlux"][0] = np.nan                                     # NaN that is NOT null
    t["rate"] = np.zeros(n); t["rate"].unit = u.electron / u.s
    t["dimless"] = np.zeros(n); t["dimless"].unit = u.dimensionless_unscaled
    t["flag"] = np.arange(n) % 2 == 0
    t["band"] = np.array(["\u00b5" * (i % width) + "g" for i in range(n)], dtype=f"U{width}")
    t["raw"] = np.array([b"a\x00b"[: i % 4] for i in range(n)], dtype="S4")   # embedded/trailing NUL
    for unit in ("ns", "us"):                                          # only these two units round trip
        t["t_" + unit] = np.full(n, np.datetime64("2025-01-01T00:00:00.123456789", unit))
    t["vec"] = rng.normal(size=(n, 5)).astype("f4")                    # 1-d cells: list_size only
    t["mat"] = np.arange(n * 6, dtype="i8").reshape(n, 2, 3)           # 2-d cells: lsst::arrow::shape::mat
    t["be_f8"] = rng.normal(size=n).astype(">f8")                      # big-endian input
    t["be_i4"] = np.arange(n).astype(">i4")
    mask = np.arange(n) % 3 == 1
    for name, val in {"m_i8": np.arange(n, dtype="i8"), "m_u4": np.arange(n, dtype="u4"),
                      "m_f4": np.arange(n, dtype="f4"), "m_bool": np.zeros(n, bool),
                      "m_str": np.array(["text"] * n, dtype="U4"), "m_byte": np.array([b"by"] * n, dtype="S2")}.items():
        t[name] = np.ma.masked_array(val, mask=mask)
    t.meta["note"] = "user metadata"
    return t

def dataframe(n):
    import pandas as pd
    df = pd.DataFrame({"id": np.arange(n), "x": np.linspace(0, 1, n), "s": ["a", None, "ccc", "dd"][:n]})
    df["n"] = pd.array([None if i == 1 else i for i in range(n)], dtype="Int64")
    return df.set_index("id")                                          # becomes a physical column, last

def arrow_table(n):
    """Types that only ArrowTable can hold and that the astropy conversion accepts."""
    import pyarrow as pa
    return pa.table({
        "u1": pa.array(range(n), pa.uint8()), "i8": pa.array([None] + list(range(1, n)), pa.int64()),
        "ls": pa.array(["x"] * n, pa.large_string()), "bin": pa.array([b"\x00z"] * n, pa.binary()),
        "ts_ms": pa.array([0] * n, pa.timestamp("ms")), "fsl": pa.array([[1.0, 2.0]] * n, pa.list_(pa.float32(), 2)),
    })

def odd_tables():
    """One-column tables; most must make the astropy conversion fail. Which ones, the golden file tells."""
    import datetime, decimal
    import pyarrow as pa
    yield "list", pa.array([[1], [2, 3]], pa.list_(pa.int32()))
    yield "dictionary", pa.array(["a", "b"]).dictionary_encode()
    yield "decimal", pa.array([decimal.Decimal("1.5"), None], pa.decimal128(10, 2))
    yield "date32", pa.array([datetime.date(2025, 1, 1), datetime.date(1999, 9, 9), None, datetime.date(2199, 1, 1)], pa.date32())
    yield "time64", pa.array([1, 2], pa.time64("us"))
    yield "duration", pa.array([1, 2], pa.duration("ns"))
    yield "fixed_binary", pa.array([b"ab", b"cd"], pa.binary(2))
    yield "null_type", pa.nulls(2)
    yield "ts_tz", pa.array([0, None], pa.timestamp("us", tz="UTC"))
    yield "null_cell", pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2))
    yield "null_inside", pa.array([[1, None], [3, 4]], pa.list_(pa.int32(), 2))
    yield "no_width", pa.array(["", ""])                                # string width with no data to size it
    yield "view_null", pa.array(["a", None], pa.string_view())          # fails only because of the null
    yield "bool_inside", pa.array([[True, None]], pa.list_(pa.bool_(), 2))
    yield "float16", pa.array(np.array([1.5, np.nan], dtype="f2"))

def pa_table(columns):
    import pyarrow as pa
    return pa.table(columns)

def numpy_table(n):
    a = np.zeros(n, dtype=[("i", "i4"), ("f", ">f8"), ("s", "U6"), ("v", "f4", (3,))])
    a["i"] = np.arange(n); a["s"] = "abc"
    return a

def make_repo(root, pg=None, namespace=None, namekey=False, datasets_v1=False):
    shutil.rmtree(root, ignore_errors=True)
    cfg, mgr = Config(), "lsst.daf.butler.registry."
    if pg:                                   # needs: CREATE EXTENSION btree_gist; schema is created for us
        cfg["registry", "db"], cfg["registry", "namespace"] = pg, namespace
    if namekey:                              # second collection manager (collection_name keys)
        cfg["registry", "managers", "collections"] = mgr + "collections.nameKey.NameKeyCollectionManager"
    if datasets_v1:                          # ingest_date as TIMESTAMP
        cfg["registry", "managers", "datasets"] = {
            "cls": mgr + "datasets.byDimensions.ByDimensionsDatasetRecordStorageManagerUUID",
            "schema_version": "1.0.0"}
    Butler.makeRepo(root, config=cfg)
    return Butler.from_config(root, writeable=True)

def populate(b, scratch):
    r = b.registry
    r.insertDimensionData("instrument", {"name": "Cam1", "class_name": "x.Y", "detector_max": 4,
                                         "visit_max": 1000, "exposure_max": 1000, "visit_system": 0})
    r.insertDimensionData("physical_filter", {"instrument": "Cam1", "name": "g_01", "band": "g"},
                          {"instrument": "Cam1", "name": "r_01", "band": "r"})
    r.insertDimensionData("detector", *[{"instrument": "Cam1", "id": i, "full_name": f"D{i}"} for i in range(4)])
    r.insertDimensionData("day_obs", *[{"instrument": "Cam1", "id": d} for d in (20250101, 20250102)])
    for v in range(1, 7):
        r.insertDimensionData("visit", {"instrument": "Cam1", "id": v, "name": f"v{v}", "exposure_time": 30.0,
            "physical_filter": "g_01" if v % 2 else "r_01", "day_obs": 20250101 if v < 4 else 20250102,
            "timespan": Timespan(T("2025-01-01 20:00:00"), T("2025-01-01 20:00:30"))})
    r.insertDimensionData("skymap", {"name": "sky1", "hash": b"0123456789", "tract_max": 2,
                                     "patch_nx_max": 1, "patch_ny_max": 1})
    r.insertDimensionData("tract", {"skymap": "sky1", "id": 0})
    r.insertDimensionData("patch", {"skymap": "sky1", "tract": 0, "id": 0, "cell_x": 0, "cell_y": 0})
    types = {n: DatasetType(n, d, sc, universe=b.dimensions, isCalibration=c) for n, d, sc, c in TYPES}
    for t in types.values():
        r.registerDatasetType(t)
    for run in ("u/me/run1", "u/me/run2", "u/me/empty", "u/me/odd #name"):
        b.collections.register(run)          # default type is RUN here (registerCollection defaults to TAGGED!)
    I = {"instrument": "Cam1"}
    ref = {}
    for run, visits in (("u/me/run1", (1, 2, 3)), ("u/me/run2", (2, 3, 4)), ("u/me/odd #name", (5,))):
        for v in visits:
            ref[run, v] = b.put(astropy_table(4 + v, width=2 + v, seed=v), "dia_source_visit", I | {"visit": v}, run=run)
    b.put(astropy_table(0), "dia_source_visit", I | {"visit": 6}, run="u/me/run1")           # empty table
    b.put(dataframe(4), "source_df", I | {"visit": 1}, run="u/me/run1")
    b.put(arrow_table(3), "tab_arrow", I | {"visit": 1, "detector": 2}, run="u/me/run1")
    for i, (name, col) in enumerate(odd_tables()):                    # visit 1 + i // 4, detector i % 4
        try:
            b.put(pa_table({name: col}), "tab_odd", I | {"visit": 1 + i // 4, "detector": i % 4}, run="u/me/run1")
        except Exception as err:                                       # some releases of pyarrow cannot write all of them
            print("cannot write", name, err)
    b.put(numpy_table(3), "tab_numpy", I | {"detector": 0}, run="u/me/run1")
    b.put({"a": np.arange(3), "v": np.zeros((3, 2))}, "tab_npdict", I | {"detector": 0}, run="u/me/run1")
    b.put(astropy_table(2), "object_patch", {"skymap": "sky1", "tract": 0, "patch": 0}, run="u/me/run1")
    b.put(astropy_table(1), "nodim_tab", {}, run="u/me/run1")
    b.put({"a": 1}, "not_parquet", I | {"visit": 1}, run="u/me/run1")
    c1 = b.put(astropy_table(1, seed=7), "calib_tab", I | {"detector": 1}, run="u/me/run1")
    c2 = b.put(astropy_table(1, seed=8), "calib_tab", I | {"detector": 1}, run="u/me/run2")
    legacy_file(b, types["legacy_parq"], scratch)
    b.put(v26_table(), "v26_yaml", I | {"visit": 1}, run="u/me/run1")
    b.collections.register("u/me/tag", CollectionType.TAGGED)
    r.associate("u/me/tag", [ref["u/me/run2", 2], ref["u/me/run1", 1]])
    for name, kids in (("u/me/inner", ["u/me/tag", "u/me/run1"]), ("u/me/outer", ["u/me/inner", "u/me/run2"]),
                       ("u/me/nothing", [])):
        b.collections.register(name, CollectionType.CHAINED)
        b.collections.redefine_chain(name, kids)
    b.collections.prepend_chain("u/me/outer", ["u/me/empty"])                               # position -1
    b.collections.register("u/me/calib", CollectionType.CALIBRATION)
    for refs, begin, end in (([c1], "2020-01-01", "2021-01-01"), ([c1], "2022-01-01", "2023-01-01"),
                             ([c2], "2023-01-01", None), ([c2], None, "2019-01-01")):
        r.certify("u/me/calib", refs, Timespan(begin and T(begin + " 00:00:00"), end and T(end + " 00:00:00")))
    b.pruneDatasets([ref["u/me/run2", 4]], disassociate=False, unstore=True, purge=False)   # registered, no file

def legacy_file(b, dtype, scratch):
    """A Parquet file the butler did not write: no lsst:: metadata; ingested by absolute URI, file is outside the root."""
    from lsst.daf.butler.formatters.parquet import ParquetFormatter
    os.makedirs(scratch, exist_ok=True)
    path = os.path.join(scratch, "legacy file.parq")
    dataframe(4).to_parquet(path)
    ref = DatasetRef(dtype, b.registry.expandDataId(instrument="Cam1", visit=2), run="u/me/run1")
    b.ingest(FileDataset(path=path, refs=[ref], formatter=ParquetFormatter), transfer="direct")

def v26_table():
    """As releases up to 26 wrote it: row count and YAML header, nothing on the fields. Python 30 loses unit and description."""
    import pyarrow as pa
    from lsst.daf.butler.formatters.parquet import astropy_to_arrow
    tab = astropy_to_arrow(astropy_table(3))
    return pa.table(tab.columns, schema=pa.schema([f.remove_metadata() for f in tab.schema], metadata=tab.schema.metadata))

def golden(b, out, exprs=None, types=None):
    """What Python answers; the Go tests compare with this, never with hand-written expectations."""
    res = {"queries": [], "tables": []}
    types = types or [t[0] for t in TYPES]
    exprs = exprs or ["u/me/run1", "u/me/tag", "u/me/inner", "u/me/outer", "u/me/calib", "u/me/nothing", "u/me/empty",
             ["u/me/tag", "u/me/run1", "u/me/run2"], ["u/me/calib", "u/me/run1"], "u/me/*", "*", "u/me/run?",
             ["u/me/run[12]"], "u/me/run1,u/me/run2", "no/such", "zz*"]
    for name in types + ["no_such_type"]:
        for e in exprs:
            for ff in (False, True):
                q = {"dataset_type": name, "collections": e, "find_first": ff}
                try:
                    refs = list(b.registry.queryDatasets(name, collections=e, findFirst=ff))
                    q["rows"] = sorted(([str(x.id), x.run, dict(x.dataId.mapping)] for x in refs), key=str)
                except Exception as err:
                    q["error"] = [type(err).__name__, str(err)]
                res["queries"].append(q)
    os.makedirs(out + "/arrow", exist_ok=True)
    res["base"] = os.path.dirname(os.path.abspath(out))
    for name in types:                                                 # unknown types just give no rows
        for x in {i.id: i for i in b.registry.queryDatasets(name, collections="*")}.values():
            res["tables"].append(golden_table(b, x, out))
    with open(out + "/golden.json", "w") as f:
        json.dump(res, f, indent=1, default=str)

def golden_table(b, ref, out):
    import pyarrow as pa
    from lsst.daf.butler.formatters.parquet import astropy_to_arrow
    rec = {"id": str(ref.id), "dataset_type": ref.datasetType.name, "run": ref.run, "uri": None,
           "data_id": dict(ref.dataId.mapping)}
    try:
        rec["uri"] = str(b.getURI(ref))
        if ref.datasetType.name == "not_parquet":
            raise TypeError("not stored as Parquet")
        tab = b.get(ref, storageClass="ArrowAstropy")
        for name in tab.colnames:
            if tab[name].dtype == "M8[D]":                              # pyarrow's own conversion gives wrong dates (note, 10.3)
                tab[name], rec["note"] = tab[name].astype("M8[us]"), "dates corrected"
        tab = astropy_to_arrow(tab)
        with pa.OSFile(f"{out}/arrow/{ref.id}.arrow", "wb") as f, pa.ipc.new_file(f, tab.schema) as w:
            w.write_table(tab)
    except Exception as err:
        rec["error"] = [type(err).__name__, str(err)[:300]]
    return rec

def chained_repo(root):
    """Three children, two record tables; one file is missing in the first file child, so `get` must fall through."""
    shutil.rmtree(root, ignore_errors=True)
    pkg, cfg = "lsst.daf.butler.datastores.", Config()
    cfg["datastore"] = {"cls": pkg + "chainedDatastore.ChainedDatastore", "datastores": [
        {"cls": pkg + "inMemoryDatastore.InMemoryDatastore"},
        {"datastore": {"cls": pkg + "fileDatastore.FileDatastore", "name": "First", "checksum": True}},
        {"datastore": {"cls": pkg + "fileDatastore.FileDatastore", "records": {"table": "second_records"}}}]}
    Butler.makeRepo(root, config=cfg)
    with Butler.from_config(root, writeable=True) as b:
        b.registry.registerDatasetType(DatasetType("nodim_tab", (), "ArrowAstropy", universe=b.dimensions))
        for run in ("both", "second_only"):
            b.collections.register(run)
            b.put(astropy_table(2), "nodim_tab", {}, run=run)
    os.remove(glob.glob(root + "/FileDatastore_1/second_only/nodim_tab/*")[0])
    return Butler.from_config(root)

def zip_repo(root, source):
    """All datasets of one run of `source`, ingested as one zip file."""
    shutil.rmtree(root, ignore_errors=True)
    Butler.makeRepo(root)
    with Butler.from_config(root, writeable=True) as b, Butler.from_config(source) as src:
        for element in ("instrument", "physical_filter", "detector", "day_obs", "visit"):
            b.registry.insertDimensionData(element, *src.registry.queryDimensionRecords(element))
        refs = src.query_datasets("dia_source_visit", "u/me/run2", where="instrument='Cam1' and visit < 4")
        b.ingest_zip(src.retrieve_artifacts_zip(refs, root + "_zip"), transfer="copy")
    return Butler.from_config(root)

def zoo():
    """Files that others might have written, each (name, how to write it to a path): every rule of the reader has one."""
    import datetime, decimal
    import pandas as pd, pyarrow as pa, pyarrow.parquet as pq
    from astropy.table import QTable, Table
    from astropy import units as u
    MIN, MAX = -2**63, 2**63 - 1

    def tab(columns, meta=None, fields=None, nullable=True, **kw):
        """A pyarrow table of name -> array; fields: name -> field metadata."""
        fs = [pa.field(n, a.type, nullable, (fields or {}).get(n)) for n, a in columns.items()]
        t = pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fs, metadata=meta))
        return lambda path: pq.write_table(t, path, **kw)

    def one(a, **kw):
        return tab({"c": a}, **kw)

    i8 = lambda *v: pa.array(v, pa.int64())
    for unit in ("s", "ms", "us", "ns"):
        yield "ts_" + unit, one(pa.array([0, None, -1, 1, 10**10], pa.timestamp(unit)))
        yield "ts_nat_" + unit, one(pa.array([1, MIN, 2], pa.timestamp(unit)))
    for unit in ("ms", "us", "ns"):
        yield "ts_max_" + unit, one(pa.array([MAX, MIN + 1], pa.timestamp(unit)))
        yield "ts_nanos_" + unit, one(pa.array([MAX // 1000, -MAX // 1000], pa.timestamp(unit)))
    yield "ts_tz", one(pa.array([5, None], pa.timestamp("us", tz="America/Santiago")))
    yield "ts_int96", tab({"c": pa.array([0, -1, 1753000000123456789, None], pa.timestamp("ns"))}, use_deprecated_int96_timestamps=True)
    yield "ts_int96_noschema", tab({"c": pa.array([0, -1, 1753000000123456789, None], pa.timestamp("ns"))}, use_deprecated_int96_timestamps=True, store_schema=False)
    yield "date32", one(pa.array([0, 20000, None, -5], pa.date32()))
    yield "date64", one(pa.array([0, 86400000 * 20000, None], pa.date64()))
    yield "date_far", one(pa.array([2**31 - 1, 1], pa.date32()))
    yield "str_nul", one(pa.array(["a\0b", "\0x", "tail\0", "", "plain", None]))
    yield "bin_nul", one(pa.array([b"a\0b", b"\0x", b"tail\0", b"", b"plain", None], pa.binary()))
    yield "str_utf8", one(pa.array(["\u00b5", "\u20ac\u20ac", "\U0001f30c", "e\u0301"]))
    yield "str_large", one(pa.array(["a", None, "ccc"], pa.large_string()))
    yield "bin_large", one(pa.array([b"a", None, b"ccc"], pa.large_binary()))
    yield "str_view", one(pa.array(["a", "a longer one than twelve"], pa.string_view()))
    yield "bin_view", one(pa.array([b"a", b"a longer one than twelve"], pa.binary_view()))
    yield "bin_view_null", one(pa.array([b"a", None], pa.binary_view()))
    yield "str_all_null", one(pa.array([None, None], pa.string()))
    yield "str_invalid", one(pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], "i4").tobytes()), pa.py_buffer(b"\xff\xfe")]))
    for n in ("1", "2", "0", "7", "-1", "x", " 3 ", "+2", "1_0", ""):
        yield f"str_len_{n.strip()}", one(pa.array(["abc", "\u20acd", None, ""]), meta={"lsst::arrow::len::c": n})
    yield "bin_len_2", one(pa.array([b"abcd", b"a", None]), meta={"lsst::arrow::len::c": "2"})
    yield "str_empty_no_rows", one(pa.array([], pa.string()))
    yield "str_len_no_rows", one(pa.array([], pa.string()), meta={"lsst::arrow::len::c": "33"})
    for t in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()):
        lo, hi = np.iinfo(t.to_pandas_dtype()).min, np.iinfo(t.to_pandas_dtype()).max
        yield f"{t}", one(pa.array([lo, hi, 0, 1], t))
        yield f"{t}_null", one(pa.array([lo, None, hi], t))
        yield f"fsl_{t}", one(pa.array([[lo, hi], [0, 1]], pa.list_(t, 2)))
    for t in ("f2", "f4", "f8"):
        a = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.5], t)
        a = np.concatenate([a, np.array([0x7ff0000000000001, 0xfff8000000000123], "u8").view("f8").astype(t)])
        yield f"float_{t}", one(pa.array(a))
        yield f"float_{t}_null", one(pa.array([1.5, None, np.nan], pa.from_numpy_dtype(np.dtype(t))))
        yield f"fsl_{t}", one(pa.FixedSizeListArray.from_arrays(pa.array(a), 2))
        yield f"fsl_{t}_null_inside", one(pa.array([[1.5, None], [2.5, 3.5]], pa.list_(pa.from_numpy_dtype(np.dtype(t)), 2)))
    yield "nan_payload", one(pa.array(np.array([0x7ff0000000000001, 0xfff8000000000123], "u8").view("f8")))
    yield "bool", one(pa.array([True, None, False]))
    yield "fsl_bool", one(pa.array([[True, False], [False, False]], pa.list_(pa.bool_(), 2)))
    yield "fsl_bool_null_inside", one(pa.array([[True, None]], pa.list_(pa.bool_(), 2)))
    yield "fsl_int_null_inside", one(pa.array([[1, None], [2**53 + 1, 4]], pa.list_(pa.int64(), 2)))
    yield "fsl_null_cell", one(pa.array([[1, 2], None], pa.list_(pa.int64(), 2)))
    yield "fsl_zero", one(pa.array([[], []], pa.list_(pa.int64(), 0)))
    yield "fsl_one", one(pa.array([[1], [2]], pa.list_(pa.int64(), 1)))
    yield "fsl_string", one(pa.array([["a", "b"]], pa.list_(pa.string(), 2)))
    yield "fsl_timestamp", one(pa.array([[1, 2]], pa.list_(pa.timestamp("us"), 2)))
    yield "fsl_fsl", one(pa.array([[[1, 2], [3, 4]]], pa.list_(pa.list_(pa.int32(), 2), 2)))
    yield "fsl_required", one(pa.array([[1, 2], [3, 4]], pa.list_(pa.field("element", pa.int32(), False), 2)), nullable=False)
    yield "fsl_no_rows", one(pa.array([], pa.list_(pa.float32(), 6)), meta={"lsst::arrow::shape::c": "(2, 3)"})
    yield "fsl_noschema", tab({"c": pa.array([[1, 2], [3, 4]], pa.list_(pa.int64(), 2))}, store_schema=False)
    six = pa.array([list(range(6))] * 3, pa.list_(pa.int32(), 6))
    for i, shape in enumerate(("(2, 3)", "(6,)", "(2,3,1)", "(2, 4)", "(2, -1)", "x", "()", "((6))", "(2 , 3)", "( 6 )", "shape (3, 2) ok")):
        yield f"shape_{i}", one(six, meta={"lsst::arrow::shape::c": shape})
    yield "list", one(pa.array([[1], [2, 3]], pa.list_(pa.int32())))
    yield "large_list", one(pa.array([[1], [2, 3]], pa.large_list(pa.int32())))
    yield "struct", one(pa.array([{"a": 1}]))
    yield "map", one(pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())))
    yield "decimal128", one(pa.array([decimal.Decimal("1.5")], pa.decimal128(10, 2)))
    yield "decimal256", one(pa.array([decimal.Decimal("1.5")], pa.decimal256(60, 2)))
    yield "dictionary", one(pa.array(["a", "b"]).dictionary_encode())
    yield "dictionary_noschema", tab({"c": pa.array(["a", "b", None]).dictionary_encode()}, store_schema=False)
    yield "dictionary_int", one(pa.array([1, 2]).dictionary_encode())
    yield "time32", one(pa.array([1], pa.time32("ms")))
    yield "time64", one(pa.array([1], pa.time64("us")))
    yield "duration", one(pa.array([1], pa.duration("us")))
    yield "fixed_binary", one(pa.array([b"ab"], pa.binary(2)))
    yield "null", one(pa.nulls(2))
    yield "uuid", one(pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16], pa.binary(16))))
    yield "uuid_noschema", tab({"c": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16], pa.binary(16)))}, store_schema=False)
    yield "json", one(pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}"])))
    yield "json_noschema", tab({"c": pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}"]))}, store_schema=False)
    yield "bool8", one(pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8())))
    yield "unknown_extension", tab({"c": i8(1, 2)}, fields={"c": {"ARROW:extension:name": "some.one", "ARROW:extension:metadata": "x"}})
    yield "required", tab({"i": i8(1, 2), "s": pa.array(["a", "bb"]), "b": pa.array([True, False])}, nullable=False)
    yield "names", tab({n: i8(1) for n in ("a.b", "a b", "\u00b5", '"', "__index_level_0__", "x: y", "- z", "{", "null", "1", "~", "yes", "#c", "'", "a\nb", "1e3", "0x1", "=", "2001-01-01", "12:30")})
    yield "name_empty", tab({"": i8(1)})
    yield "names_twice", lambda path: pq.write_table(pa.Table.from_arrays([i8(1), i8(2)], names=["a", "a"]), path)
    yield "no_columns", lambda path: pq.write_table(pa.table({}), path)
    yield "no_rows", tab({"a": i8(), "s": pa.array([], pa.string())})
    yield "no_row_groups", lambda path: pq.ParquetWriter(path, pa.schema([("a", pa.int64())])).close()
    n = 700                                                            # few different values: the packed repository must be small
    rng = np.random.default_rng(3)
    some = lambda values: rng.choice(values, n)
    floats, ints = rng.normal(size=90), rng.integers(MIN, MAX, 90)
    many = {"i": pa.array(some(ints)), "small": pa.array(rng.integers(-3, 3, n).astype("i2")), "f": pa.array(some(floats)),
            "g": pa.array(some(floats).astype("f4")), "h": pa.array(some(floats).astype("f2")), "s": pa.array(["x" * (k % 7) + str(k % 50) for k in range(n)]),
            "b": pa.array((rng.random(n) < 0.1)), "m": pa.array([None if k % 3 else k for k in range(n)]), "ms": pa.array([None if k % 5 else str(k) for k in range(n)]),
            "mb": pa.array([None if k % 4 == 1 else k % 3 == 0 for k in range(n)]), "v": pa.FixedSizeListArray.from_arrays(pa.array(np.tile(some(floats), 3).astype("f4")), 3),
            "t": pa.array(some(ints) // 1000, pa.timestamp("us")), "u": pa.array(rng.integers(0, 200, n).astype("u1")), "half": pa.array([None] * (n // 2) + list(range(n // 2)))}
    for codec in ("none", "snappy", "gzip", "zstd", "lz4", "brotli"):
        yield "codec_" + codec, tab({"i": many["i"], "s": many["s"], "b": many["b"]}, compression=codec)
    yield "pages_small", tab(many, data_page_size=300, write_batch_size=64)
    yield "pages_small_v2", tab(many, data_page_size=300, write_batch_size=64, data_page_version="2.0")
    yield "pages_v2_plain", tab(many, use_dictionary=False, data_page_version="2.0", compression="none")
    yield "pages_checksum", tab(many, write_page_checksum=True)
    yield "row_groups", tab(many, row_group_size=177)
    yield "row_groups_small", tab(many, row_group_size=177, data_page_size=100, write_batch_size=10, use_dictionary=["s", "small"])
    yield "dictionary_overflow", tab(many, dictionary_pagesize_limit=500, data_page_size=400, write_batch_size=50)
    yield "delta", tab({k: many[k] for k in ("i", "small", "s", "ms", "m", "t")}, use_dictionary=False, column_encoding={"i": "DELTA_BINARY_PACKED", "small": "DELTA_BINARY_PACKED",
                       "s": "DELTA_BYTE_ARRAY", "ms": "DELTA_LENGTH_BYTE_ARRAY", "m": "DELTA_BINARY_PACKED", "t": "DELTA_BINARY_PACKED"}, data_page_size=900, write_batch_size=100)
    yield "split", tab({k: many[k] for k in ("i", "f", "g", "h", "m")}, use_dictionary=False, column_encoding={k: "BYTE_STREAM_SPLIT" for k in ("i", "f", "g", "h", "m")}, data_page_size=900, write_batch_size=100)
    yield "rle_bool", tab({k: many[k] for k in ("b", "mb")}, use_dictionary=False, column_encoding={"b": "RLE", "mb": "RLE"}, data_page_version="2.0")
    yield "format_1", tab(many, version="1.0")
    yield "noschema", tab({k: many[k] for k in ("i", "small", "f", "g", "s", "b", "m", "t", "u")}, store_schema=False)
    yield "old_lists", tab({"v": many["v"], "i": many["i"]}, use_compliant_nested_type=False)
    t = Table({"a": [1, 2], "q": [1.5, 2.5], "s": ["x", "yy"]}, meta={"note": "n", "list": [1, 2]})
    t["q"].unit, t["q"].description, t["q"].format = "km / s", "speed: fast", "%.2f"
    t["a"].meta = {"k": 1}
    yield "astropy", lambda path: t.write(path, format="parquet")
    yield "astropy_masked", lambda path: Table({"a": np.ma.masked_array([1, 2], [True, False])}).write(path, format="parquet")
    yield "astropy_qtable", lambda path: QTable({"q": [1.0, 2.0] * u.m, "i": [1, 2]}).write(path, format="parquet")
    units = ["deg", "degree", "pixel**2", "nJy", "electron / s", "1/pixel", "", "N/A", "days", "%", "Angstrom", "mag(AB)", " deg ", "10^-7 nJy"]
    yield "units", tab({f"u{k}": i8(1) for k in range(len(units))}, fields={f"u{k}": {"unit": x, "description": f"d {k}"} for k, x in enumerate(units)}, meta={"lsst::arrow::rowcount": "1"})
    yaml = "datatype:\n- {name: c, unit: m, datatype: int64, description: from yaml}\nmeta: !!omap\n- {note: x}"
    field = {"c": {"unit": "s", "description": "from field"}}
    yield "yaml_and_count", one(i8(1), meta={"table_meta_yaml": yaml, "lsst::arrow::rowcount": "1"}, fields=field)
    yield "yaml_no_count", one(i8(1), meta={"table_meta_yaml": yaml}, fields=field)
    yield "yaml_missing_column", tab({"c": i8(1), "d": i8(2)}, meta={"table_meta_yaml": yaml})
    yield "yaml_broken", one(i8(1), meta={"table_meta_yaml": "datatype: ["}, fields=field)
    yield "yaml_broken_count", one(i8(1), meta={"table_meta_yaml": "datatype: [", "lsst::arrow::rowcount": "1"}, fields=field)
    yield "index_kept", tab({"c": i8(1), "d": i8(2)}, meta={"lsst::arrow::rowcount": "1", "lsst::arrow::astropy_pandas_index": "d"})
    yield "index_gone", one(i8(1), meta={"lsst::arrow::rowcount": "1", "lsst::arrow::astropy_pandas_index": "d"})
    yield "index_no_count", one(i8(1), meta={"lsst::arrow::astropy_pandas_index": "c"})
    yield "rowcount_lies", one(i8(1, 2), meta={"lsst::arrow::rowcount": "77"})
    df = pd.DataFrame({"x": [1.0, np.nan], "s": ["a", None], "c": pd.Categorical(["a", "b"]), "t": pd.to_datetime(["2020-01-01", None]), "i": pd.array([1, None], "Int32")})
    yield "pandas", lambda path: df.drop(columns="c").to_parquet(path)
    yield "pandas_categorical", lambda path: df.to_parquet(path)
    yield "pandas_multiindex", lambda path: df[["x", "s"]].set_index(pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["k", None])).to_parquet(path)
    yield "pandas_named_range", lambda path: df[["x"]].rename_axis("row").to_parquet(path)
    yield "pandas_index", lambda path: df[["x"]].set_index(pd.Index([7, 8])).to_parquet(path)
    wide = pd.DataFrame({("ref", "a"): [1], ("meas", "b"): [2.0]})
    yield "pandas_multicolumns", lambda path: wide.to_parquet(path)

def zoo_repo(root):
    """Each file of the zoo as one dataset, its name the name of a detector."""
    from lsst.daf.butler.formatters.parquet import ParquetFormatter
    shutil.rmtree(root, ignore_errors=True)
    shutil.rmtree(root + "_files", ignore_errors=True)
    os.makedirs(root + "_files")
    Butler.makeRepo(root)
    with Butler.from_config(root, writeable=True) as b:
        dtype = DatasetType("zoo", ("instrument", "detector"), "ArrowTable", universe=b.dimensions)
        b.registry.registerDatasetType(dtype)
        b.collections.register("zoo")
        b.registry.insertDimensionData("instrument", {"name": "Cam1", "detector_max": 1000})
        files = []
        for i, (name, write) in enumerate(zoo()):
            path = f"{root}_files/{i}.parq"
            try:
                write(path)
            except Exception as err:
                print("cannot write", name, str(err)[:100])
                continue
            b.registry.insertDimensionData("detector", {"instrument": "Cam1", "id": i, "full_name": f"{i}_{name}"[:32]})
            ref = DatasetRef(dtype, b.registry.expandDataId(instrument="Cam1", detector=i), run="zoo")
            files.append(FileDataset(path=path, refs=[ref], formatter=ParquetFormatter))
        b.ingest(*files, transfer="move")
    shutil.rmtree(root + "_files")
    return Butler.from_config(root)

if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("out"); ap.add_argument("--pg"); ap.add_argument("--golden"); a = ap.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)                                  # else a failed conversion is also logged
    out = os.path.abspath(a.out)
    if a.golden:
        with Butler.from_config(a.golden) as b:
            golden(b, os.path.join(out, os.path.basename(a.golden.rstrip("/")) + "_golden"), ["*"],
                   sorted(t.name for t in b.registry.queryDatasetTypes()))
        raise SystemExit
    variants = {"plain": {}, "namekey": {"namekey": True}, "v1": {"datasets_v1": True}}
    for name, kw in variants.items():
        root = os.path.join(out, ("pg_" if a.pg else "sqlite_") + name)
        if a.pg:
            kw = kw | {"pg": a.pg, "namespace": f"fixture_{name}"}
        with make_repo(root, **kw) as b:
            populate(b, root + "_external")
            golden(b, root + "_golden")
    if not a.pg:
        base = out + "/"
        for name, b, exprs, types in (("chained", chained_repo(base + "chained"), ["both", "second_only"], None),
                                      ("zip", zip_repo(base + "zip", base + "sqlite_plain"), ["u/me/run2"], None),
                                      ("zoo", zoo_repo(base + "zoo"), ["*"], ["zoo"])):
            golden(b, base + name + "_golden", exprs, types or sorted(t.name for t in b.registry.queryDatasetTypes()))

"""Do with Butler what a file claims to be, and compare.

  judge.py REPO FILE SPEC [FILE SPEC ...] [-- REPO FILE SPEC ...]

SPEC is JSON: collections, and any of type, where, find_first, ids, target, columns, data_id, units_differ. Prints "same" for each file that
holds, row group for row group and bit for bit, what butler.get gives, and that Butler and astropy read back with names, units and shapes.
"""
import json, sys, warnings
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from astropy.table import Table, meta
from lsst.daf.butler import Butler
from lsst.daf.butler.formatters.parquet import arrow_to_astropy, astropy_to_arrow

def key(ref):
    required = list(zip(ref.dataId.dimensions.required, ref.dataId.required_values))
    return [v for k, v in required if k != "detector"] + [v for k, v in required if k == "detector"] + [ref.run, str(ref.id)]

def the_python_way(b, spec):
    """The tables that today's program writes, in the order that is promised, and the schema of all without a row left."""
    name = spec.get("type", "dia_source_visit")
    refs = b.registry.queryDatasets(name, collections=spec["collections"], findFirst=spec.get("find_first", False), where=spec.get("where", ""))
    tables, empty = [], None
    for ref in sorted({r.id: r for r in refs}.values(), key=key):
        t = b.get(ref, storageClass="ArrowAstropy")
        if "ids" in spec and len(t):
            t = t[np.isin(t[spec.get("target", "diaSourceId")], np.array(spec["ids"], "i8"))]
        if "columns" in spec:
            t = t[spec["columns"]]
        if spec.get("data_id"):
            for k, v in ref.dataId.mapping.items():
                t[k] = np.full(len(t), v)
        if len(t):
            tables.append(t)
        elif empty is None:
            empty = t
    return tables, empty

def bits(column):
    """A column as bytes that are alike for values that are the same bit for bit, nulls aside."""
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks != 1 else column.chunk(0)
    if pa.types.is_fixed_size_list(column.type):
        return [column.type.list_size, bits(column.flatten())]
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(column.type):
        size = column.type.bit_width // 8
        raw = np.frombuffer(column.buffers()[1], f"u{size}")[column.offset:column.offset + len(column)]
        return [valid.tolist(), np.where(valid, raw, 0).tolist()]
    return column.to_pylist() if not pa.types.is_timestamp(column.type) else column.cast(pa.int64()).to_pylist()

def texts(column):
    return [x.decode() if isinstance(x, bytes) else x for x in np.ma.asarray(column).tolist()]

def plain_type(t):
    return f"{t.value_type}[{t.list_size}]" if pa.types.is_fixed_size_list(t) else str(t)

def compare(b, path, spec):
    tables, empty = the_python_way(b, spec)
    want = [astropy_to_arrow(t) for t in tables]
    first = (want or [astropy_to_arrow(empty)])[0]
    f = pq.ParquetFile(path)
    assert f.num_row_groups == len(want), f"{f.num_row_groups} row groups, want {len(want)}"
    total = sum(len(t) for t in want)
    assert f.metadata.num_rows == total
    schema = f.schema_arrow
    assert [(x.name, plain_type(x.type), x.nullable) for x in schema] == [(x.name, plain_type(x.type), x.nullable) for x in first.schema], f"{schema}\n{first.schema}"
    for i, w in enumerate(want):
        got = f.read_row_group(i)
        for name in w.column_names:
            assert bits(got[name]) == bits(w[name]), f"row group {i}, column {name}: {bits(got[name])}\n{bits(w[name])}"
    # Metadata: widths are those of the widest, all else that of the first.
    md, wmd = schema.metadata, first.schema.metadata
    assert [k for k in md if k != b"ARROW:schema"] == list(wmd), f"{list(md)}\n{list(wmd)}"
    for k in wmd:
        if k == b"lsst::arrow::rowcount":
            assert int(md[k]) == total
        elif b"::len::" in k and want:
            longest = max(int(w.schema.metadata[k]) for w in want)
            assert int(md[k]) == longest or "ids" in spec and int(md[k]) <= longest, (k, md[k], longest)
        elif k != b"table_meta_yaml":
            assert md[k] == wmd[k], (k, md[k], wmd[k])
    header = lambda m: meta.get_header_from_yaml(m[b"table_meta_yaml"].decode().split("\n"))
    if not spec.get("units_differ"):
        assert header(md) == header(wmd), f"{header(md)}\n{header(wmd)}"
        strip = lambda x: {k: v for k, v in (x.metadata or {}).items() if k != b"PARQUET:field_id"}
        assert [strip(x) for x in schema] == [strip(x) for x in first.schema]
    # Readers: Butler's function by the header, Butler's function by the fields, astropy itself.
    table = pq.read_table(path)
    bare = table.replace_schema_metadata({k: v for k, v in md.items() if k != b"table_meta_yaml"})
    model = (tables or [empty])[0]
    for back in (arrow_to_astropy(table), arrow_to_astropy(bare), Table.read(path, format="parquet")):
        assert len(back) == total
        assert back.colnames == model.colnames, f"{back.colnames}\n{model.colnames}"
        for c in model.colnames:
            assert (back[c].unit or None) == (model[c].unit or None), (c, back[c].unit, model[c].unit)
            assert (back[c].description or None) == (model[c].description or None), (c, back[c].description, model[c].description)
    for c in model.colnames:
        for back in (arrow_to_astropy(table), arrow_to_astropy(bare)):
            assert back[c].shape[1:] == model[c].shape[1:], c
            if tables and back[c].dtype.kind in "US":
                whole = [x for t in tables for x in texts(t[c])]
                assert texts(back[c]) == whole, (c, texts(back[c]), whole)
    print("same")

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    args = sys.argv[1:]
    while args:
        end = args.index("--") if "--" in args else len(args)
        (repo, *pairs), args = args[:end], args[end + 1:]
        with Butler.from_config(repo) as b:
            for path, spec in zip(pairs[::2], pairs[1::2]):
                try:
                    compare(b, path, json.loads(spec))
                except Exception as err:
                    print(f"{path} {spec}: {type(err).__name__}: {err}")

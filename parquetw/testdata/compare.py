"""Compare Parquet files with the Arrow files they were made of: compare.py DIRECTORY

For each N.parquet there is N.arrow. pyarrow must read the same schema (field metadata included) and the same values,
floats by their bits; DuckDB must read the values that pyarrow reads; both must count the rows of conditions right, which
they do from statistics where they can.
"""
import decimal
import math
import struct
import sys
import uuid
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.ipc
import pyarrow.parquet as pq


def same(a, b, where):
    """Raise unless two arrays hold the same values."""
    if a.type != b.type:
        raise SystemExit(f"{where}: type {a.type} is not {b.type}")
    if len(a) != len(b):
        raise SystemExit(f"{where}: {len(a)} values are not {len(b)}")
    if not a.is_valid().equals(b.is_valid()):
        raise SystemExit(f"{where}: other nulls")
    t = a.type
    if isinstance(a, pa.ExtensionArray):
        return same(a.storage, b.storage, where)
    if pa.types.is_dictionary(t):
        return same(a.dictionary_decode(), b.dictionary_decode(), where)
    if pa.types.is_struct(t):
        a, b = a.filter(a.is_valid()), b.filter(b.is_valid())
        for i, f in enumerate(t):
            same(a.field(i), b.field(i), f"{where}.{f.name}")
        return
    if pa.types.is_fixed_size_list(t) or pa.types.is_list(t) or pa.types.is_large_list(t) or pa.types.is_map(t):
        a, b = a.filter(a.is_valid()), b.filter(b.is_valid())
        if pa.types.is_map(t):
            ends = [x.offsets.slice(0, len(x) + 1) for x in (a, b)]
            if not pc.subtract(ends[0].slice(1), ends[0].slice(0, len(a))).equals(pc.subtract(ends[1].slice(1), ends[1].slice(0, len(b)))):
                raise SystemExit(f"{where}: other lengths")
            spans = [(o[0].as_py(), o[-1].as_py() - o[0].as_py()) for o in ends]
            same(a.keys.slice(*spans[0]), b.keys.slice(*spans[1]), where + ".key")
            same(a.items.slice(*spans[0]), b.items.slice(*spans[1]), where + ".value")
            return
        if not pa.types.is_fixed_size_list(t) and not a.value_lengths().equals(b.value_lengths()):
            raise SystemExit(f"{where}: other lengths")
        return same(a.flatten(), b.flatten(), where + "[]")
    ints = {pa.float16(): pa.uint16(), pa.float32(): pa.uint32(), pa.float64(): pa.uint64()}
    if t in ints:
        # what lies under a null does not count
        a, b = a.drop_null().view(ints[t]), b.drop_null().view(ints[t])
    if not a.equals(b):
        for i in range(len(a)):
            if a[i] != b[i]:
                raise SystemExit(f"{where}: value {i}: {a[i]!r} is not {b[i]!r}")
        raise SystemExit(f"{where}: other values")


def plain(v, t):
    """A value as DuckDB and pyarrow can agree on it."""
    if v is None:
        return None
    if isinstance(t, pa.BaseExtensionType):
        if isinstance(v, uuid.UUID):
            return str(v)
        return plain(v, t.storage_type)
    if pa.types.is_dictionary(t):
        return v
    if pa.types.is_struct(t):
        return tuple(plain(v[f.name], f.type) for f in t)
    if pa.types.is_map(t):
        pairs = v.items() if isinstance(v, dict) else v
        return tuple((k, plain(x, t.item_type)) for k, x in pairs)
    if pa.types.is_list(t) or pa.types.is_fixed_size_list(t):
        return tuple(plain(x, t.value_type) for x in v)
    if pa.types.is_floating(t):
        v = float(v)
        return "NaN" if math.isnan(v) else struct.pack("<d", v)
    if isinstance(v, uuid.UUID):
        return str(v)
    if isinstance(v, decimal.Decimal):
        return v.normalize()
    if isinstance(v, (bytes, bytearray, memoryview)):
        return bytes(v)
    return v


def in_duckdb(con, path, want):
    """Compare what DuckDB reads with the Arrow table want, without the columns whose types DuckDB does not have."""
    for i, f in enumerate(want.schema):
        if not comparable(f.type):
            continue
        quoted = '"' + f.name.replace('"', '""') + '"'
        col = want.column(i)
        if numeric(f.type):  # instants and times leave Python's range: compare them as numbers
            if pa.types.is_date32(f.type):
                col = col.cast(pa.int32())
                value = f"date_diff('day', DATE '1970-01-01', {quoted})"
            else:
                col = col.cast(pa.int64())
                value = f"epoch_us({quoted})"
            expect = col.to_pylist()
        else:
            value = quoted
            expect = [plain(v, f.type) for v in col.to_pylist()]
        got = [r[0] for r in con.execute(f"SELECT {value} FROM read_parquet(?)", [str(path)]).fetchall()]
        if not numeric(f.type):
            got = [plain(v, f.type) for v in got]
        if got != expect:
            at = next((k for k in range(min(len(got), len(expect))) if got[k] != expect[k]), None)
            what = f"row {at}: {got[at]!r} is not {expect[at]!r}" if at is not None else f"{len(got)} rows are not {len(expect)}"
            raise SystemExit(f"{path}: duckdb: {f.name}: {what}")


def filters(con, path, want):
    """Count rows by conditions that readers answer from statistics where they can, and compare with the data."""
    data = pyarrow.dataset.dataset(path)
    n = 0
    for i, f in enumerate(want.schema):
        if not filterable(f.type) or want.num_rows == 0:
            continue
        column = want.column(i).combine_chunks()
        values = column.drop_null()
        if pa.types.is_floating(f.type):
            values = values.filter(pc.invert(pc.is_nan(values)))
        if len(values) == 0:
            continue
        quoted = '"' + f.name.replace('"', '""') + '"'
        for v in {values[0], values[len(values) // 2], values[-1], pc.min(values), pc.max(values)}:
            for name, sign in (("less_equal", "<="), ("greater", ">"), ("equal", "=")):
                expect = pc.sum(getattr(pc, name)(column, v)).as_py() or 0
                got = data.count_rows(filter=getattr(pc, name)(pc.field(f.name), v))
                if got != expect:
                    raise SystemExit(f"{path}: pyarrow: {f.name} {sign} {v}: {got} rows are not {expect}")
                n += 1
                if numeric(f.type):
                    continue
                if name == "greater" and pa.types.is_floating(f.type):
                    continue  # DuckDB sorts NaN above everything
                got = con.execute(f"SELECT count(*) FROM read_parquet(?) WHERE {quoted} {sign} ?", [str(path), v.as_py()]).fetchone()[0]
                if got != expect:
                    raise SystemExit(f"{path}: duckdb: {f.name} {sign} {v}: {got} rows are not {expect}")
                n += 1
    return n


def filterable(t):
    return (pa.types.is_integer(t) or pa.types.is_floating(t) and t != pa.float16() or pa.types.is_string(t) or pa.types.is_binary(t)
            or pa.types.is_decimal128(t) or pa.types.is_timestamp(t) or pa.types.is_date32(t))


def numeric(t):
    return pa.types.is_timestamp(t) or pa.types.is_date32(t) or pa.types.is_time64(t)


def comparable(t, top=True):
    """Whether DuckDB has the type with the same values: no 256-bit decimals; nested instants leave Python's range."""
    if isinstance(t, pa.BaseExtensionType):
        return True
    if pa.types.is_decimal256(t) or pa.types.is_duration(t):
        return False
    if numeric(t):
        return top
    if pa.types.is_struct(t):
        return all(comparable(f.type, False) for f in t)
    if pa.types.is_map(t):
        return comparable(t.item_type, False)
    if pa.types.is_list(t) or pa.types.is_fixed_size_list(t):
        return comparable(t.value_type, False)
    return True


def main():
    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    n = cells = conditions = 0
    for path in sorted(Path(sys.argv[1]).glob("*.parquet")):
        with pa.memory_map(str(path.with_suffix(".arrow"))) as source:
            want = pyarrow.ipc.open_file(source).read_all()
        try:
            got = pq.read_table(path, page_checksum_verification=True)
        except pa.ArrowException as e:
            raise SystemExit(f"{path}: {e}\n{want.schema}\n{pq.read_metadata(path)}")
        # with check_metadata, equals also compares the names inside maps, which pyarrow makes up for itself
        meta = [f.metadata for f in got.schema] == [f.metadata for f in want.schema]
        if not got.schema.equals(want.schema) or not meta:
            raise SystemExit(f"{path}: schema\n{got.schema}\nis not\n{want.schema}")
        if got.num_rows != want.num_rows:
            raise SystemExit(f"{path}: {got.num_rows} rows are not {want.num_rows}")
        for i, name in enumerate(want.schema.names):
            a, b = got.column(i).combine_chunks(), want.column(i).combine_chunks()
            if isinstance(a, pa.ChunkedArray):
                a = pa.concat_arrays(a.chunks) if a.num_chunks else pa.array([], a.type)
                b = pa.concat_arrays(b.chunks) if b.num_chunks else pa.array([], b.type)
            same(a, b, f"{path}: {name}")
        in_duckdb(con, path, want)
        conditions += filters(con, path, want)
        n += 1
        cells += want.num_rows * want.num_columns
    print(f"{n} files, {cells} cells and {conditions} conditions agree")


main()

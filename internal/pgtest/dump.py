"""Writes a Parquet file as canonical JSON lines: first what the file says of itself, then an array a row.

    python dump.py pyarrow|duckdb FILE

Every scalar becomes the text that Postgres gives for it under DateStyle ISO, TimeZone UTC and extra_float_digits 3; NULL becomes null, a
list an array, a struct an object. So both readers' rows can be compared with each other and with the server's.
"""
import decimal
import json
import math
import sys
import uuid

import numpy
import pyarrow as pa
import pyarrow.types as t

DAY_US = 86_400_000_000
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def date_text(days):
    """days since 1970-01-01 in the proleptic Gregorian calendar, of any year (Python's own dates end at 1 and 9999)."""
    z = days + 719_468
    era, doe = divmod(z, 146_097)
    yoe = (doe - doe // 1_460 + doe // 36_524 - doe // 146_096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    day = doy - (153 * mp + 2) // 5 + 1
    month = mp + 3 if mp < 10 else mp - 9
    year = yoe + era * 400 + (month <= 2)
    if year <= 0:
        return f"{1 - year:04}-{month:02}-{day:02}", " BC"
    return f"{year:04}-{month:02}-{day:02}", ""


def time_text(units, per_second):
    seconds, fraction = divmod(units, per_second)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if fraction:
        text += "." + str(fraction).zfill(len(str(per_second)) - 1).rstrip("0")
    return text


def timestamp_text(value, typ):
    per_second = PER_SECOND[typ.unit]
    days, units = divmod(value, 86_400 * per_second)
    date, era = date_text(days)
    return date + " " + time_text(units, per_second) + ("+00" if typ.tz else "") + era


def float_text(value, single):
    """the shortest digits that read back as value, as the server writes them (src/common/d2s.c and f2s.c)"""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    sign, magnitude = "-" if value < 0 else "", abs(value)
    bits = 24 if single else 53
    shortest = decimal.Decimal(str(numpy.float32(magnitude)) if single else repr(magnitude))
    if magnitude >= 2**bits and beyond_halfway(int(magnitude), int(shortest), bits):
        # Unlike Python and numpy, the server never takes digits half-way to the next float, though they would read back as this one.
        shortest = next(
            d
            for d in (decimal.Decimal(f"{magnitude:.{places}e}") for places in range(17))
            if not beyond_halfway(int(magnitude), int(d), bits)
        )
    digits = "".join(map(str, shortest.as_tuple().digits)).rstrip("0")
    exponent = shortest.adjusted()
    if exponent < -4 or exponent >= (6 if single else 15):
        return f"{sign}{digits[0]}{'.' + digits[1:] if len(digits) > 1 else ''}e{exponent:+03}"
    if exponent < 0:
        return sign + "0." + "0" * (-exponent - 1) + digits
    if len(digits) <= exponent + 1:
        return sign + digits + "0" * (exponent + 1 - len(digits))
    return sign + digits[: exponent + 1] + "." + digits[exponent + 1 :]


def beyond_halfway(value, other, bits):
    """whether other lies half-way from value to the next float or farther, all whole numbers"""
    gap = 2 ** (value.bit_length() - bits)
    if other < value and value & (value - 1) == 0:
        gap //= 2  # below a power of two floats are twice as dense
    return 2 * abs(other - value) >= gap


def identity(value):
    return value


def converter(typ):
    """a function from what ready(column) gives for a non-null value to its canonical form"""
    if isinstance(typ, pa.BaseExtensionType):
        if typ.extension_name == "arrow.uuid":
            return lambda v: str(uuid.UUID(bytes=v))
        return converter(typ.storage_type)
    if t.is_boolean(typ):
        return lambda v: "t" if v else "f"
    if t.is_integer(typ) or t.is_duration(typ):
        return str
    if t.is_floating(typ):
        return lambda v: float_text(v, typ.bit_width == 32)
    if t.is_decimal(typ):
        return lambda v: format(v, "f")
    if t.is_binary(typ) or t.is_large_binary(typ) or t.is_fixed_size_binary(typ) or t.is_binary_view(typ):
        return lambda v: "\\x" + v.hex()
    if t.is_date32(typ):
        return lambda v: "".join(date_text(v))
    if t.is_time(typ):
        return lambda v: time_text(v, PER_SECOND[typ.unit])
    if t.is_timestamp(typ):
        return lambda v: timestamp_text(v, typ)
    if t.is_list(typ) or t.is_large_list(typ) or t.is_fixed_size_list(typ) or t.is_list_view(typ):
        return lister(converter(typ.value_type))
    if t.is_struct(typ):
        return structer([(typ.field(i).name, converter(typ.field(i).type)) for i in range(typ.num_fields)])
    if t.is_map(typ):
        key, item = converter(typ.key_type), converter(typ.item_type)
        return lambda v: [[key(k), None if x is None else item(x)] for k, x in v]
    if t.is_dictionary(typ):
        return converter(typ.value_type)
    if t.is_string(typ) or t.is_large_string(typ) or t.is_string_view(typ) or t.is_null(typ):
        return identity
    raise SystemExit(f"dump.py knows no canonical form of {typ}")


def lister(convert):
    return lambda v: [None if x is None else convert(x) for x in v]


def structer(fields):
    return lambda v: {name: None if v[name] is None else convert(v[name]) for name, convert in fields}


def ready(array):
    """the array with dates, times and durations as the integers they are stored as: Python's own types don't hold them all"""
    typ = array.type
    if isinstance(typ, pa.BaseExtensionType):
        return ready(array.storage) if typ.extension_name != "arrow.uuid" else array.storage
    if t.is_dictionary(typ):
        return ready(array.dictionary_decode())
    if t.is_date32(typ) or t.is_time32(typ):
        return array.view(pa.int32())
    if t.is_time64(typ) or t.is_timestamp(typ) or t.is_duration(typ):
        return array.view(pa.int64())
    if t.is_list(typ) or t.is_large_list(typ):
        kind = pa.ListArray if t.is_list(typ) else pa.LargeListArray
        array = pa.concat_arrays([array[:0], array])  # a copy: from_arrays takes no slice
        values = ready(array.values)
        typ = pa.list_(values.type) if t.is_list(typ) else pa.large_list(values.type)
        return kind.from_arrays(array.offsets, values, typ, mask=array.is_null())
    if t.is_struct(typ):
        fields = [ready(array.field(i)) for i in range(typ.num_fields)]
        names = [typ.field(i).name for i in range(typ.num_fields)]
        return pa.StructArray.from_arrays(fields, names=names, mask=array.is_null())
    return array


def dump_rows(batches, out):
    for batch in batches:
        columns = []
        for column in batch.columns:
            convert = converter(column.type)
            columns.append([None if v is None else convert(v) for v in ready(column).to_pylist()])
        for row in zip(*columns) if columns else ([] for _ in range(batch.num_rows)):
            out.write(json.dumps(row, ensure_ascii=False))
            out.write("\n")


def text(pairs):
    return {k.decode(): v.decode(errors="replace") for k, v in (pairs or {}).items()}


def dump_pyarrow(path, out):
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    meta = file.metadata
    head = {
        "fields": [
            {"name": f.name, "type": str(f.type), "nullable": f.nullable, "metadata": text(f.metadata)} for f in file.schema_arrow
        ],
        "metadata": {k: v for k, v in text(meta.metadata).items() if k != "ARROW:schema"},
        "created_by": meta.created_by,
        "row_groups": [meta.row_group(i).num_rows for i in range(meta.num_row_groups)],
        "leaves": [],
    }
    for i in range(meta.num_columns):
        column = meta.schema.column(i)
        leaf = {
            "path": column.path,
            "physical": column.physical_type,
            "logical": str(column.logical_type),
            "definition": column.max_definition_level,
            "repetition": column.max_repetition_level,
        }
        if meta.num_row_groups:
            chunk = meta.row_group(0).column(i)
            leaf["compression"] = chunk.compression
            leaf["encodings"] = list(chunk.encodings)
        head["leaves"].append(leaf)
    out.write(json.dumps(head, ensure_ascii=False) + "\n")
    # Read row group by row group: a file without columns has rows all the same.
    for i in range(meta.num_row_groups):
        if not meta.num_columns:
            out.write("[]\n" * meta.row_group(i).num_rows)
            continue
        dump_rows(file.read_row_group(i).to_batches(max_chunksize=16384), out)


def dump_duckdb(path, out):
    import duckdb

    db = duckdb.connect()
    db.execute("SET enable_progress_bar = false")  # it would stand among the rows
    db.execute("SET TimeZone = 'UTC'")
    db.execute("SET arrow_large_buffer_size = true")  # strings of more than 2 GiB together
    relation = db.read_parquet(path)
    head = {
        "fields": [{"name": n, "type": str(typ), "nullable": True, "metadata": {}} for n, typ in zip(relation.columns, relation.types)],
        "metadata": {},
        "created_by": "",
        "row_groups": [
            n
            for _, n in db.execute(
                "SELECT DISTINCT row_group_id, row_group_num_rows FROM parquet_metadata(?) ORDER BY 1", [path]
            ).fetchall()
        ],
        "leaves": [],
    }
    for key, value in db.execute("SELECT key, value FROM parquet_kv_metadata(?)", [path]).fetchall():
        if key != b"ARROW:schema":
            head["metadata"][key.decode()] = value.decode(errors="replace")
    out.write(json.dumps(head, ensure_ascii=False) + "\n")
    dump_rows(relation.to_arrow_reader(16384) if hasattr(relation, "to_arrow_reader") else relation.fetch_arrow_reader(16384), out)


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    {"pyarrow": dump_pyarrow, "duckdb": dump_duckdb}[sys.argv[1]](sys.argv[2], sys.stdout)

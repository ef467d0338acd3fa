"""Print what pyarrow and DuckDB say of a file, as JSON: facts.py FILE [COLUMN=SQL-VALUE …]

rows: of each row group; sorting: of each row group, as (column, descending, nulls first); columns: each path's encodings
and whether each row group has an offset index, a column index and statistics; probes: for each COLUMN=VALUE, which row
groups DuckDB passes over for the bloom filter; matches: how many rows DuckDB finds, with the filter and by reading all.
"""
import json
import sys

import duckdb
import pyarrow.parquet as pq

path, probes = sys.argv[1], [p.split("=", 1) for p in sys.argv[2:]]
meta = pq.ParquetFile(path).metadata
groups = [meta.row_group(g) for g in range(meta.num_row_groups)]
columns = {}
for g in groups:
    for c in range(meta.num_columns):
        chunk = g.column(c)
        e = columns.setdefault(chunk.path_in_schema, {"encodings": [], "offset": [], "index": [], "stats": []})
        e["encodings"].append([x for x in chunk.encodings if x != "RLE"])
        e["offset"].append(chunk.has_offset_index)
        e["index"].append(chunk.has_column_index)
        e["stats"].append(chunk.is_stats_set)
db = duckdb.connect()


def one(sql):
    return db.execute(sql).fetchone()[0]


out = []
for column, value in probes:
    rows = db.execute(f"SELECT bloom_filter_excludes FROM parquet_bloom_probe('{path}', '{column}', {value}) ORDER BY row_group_id").fetchall()
    found = one(f"""SELECT count(*) FROM '{path}' WHERE "{column}" = {value}""")
    read = one(f"""SELECT count(*) FROM (SELECT * FROM '{path}' OFFSET 0) WHERE "{column}"::VARCHAR = ({value})::VARCHAR""")
    out.append({"excluded": [r[0] for r in rows], "found": found, "read": read})
print(json.dumps({
    "rows": [g.num_rows for g in groups],
    "sorting": [[[s.column_index, s.descending, s.nulls_first] for s in g.sorting_columns] for g in groups],
    "columns": columns,
    "probes": out,
}))

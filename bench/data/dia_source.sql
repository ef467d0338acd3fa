-- A table shaped like a difference-image source catalog: 7 ids and positions, 40 floats (2 % NaN), 12 flags; invented values.
--
--   psql -X -v rows=1500000 -f dia_source.sql "service=..."
--
-- Deterministic: the same :rows gives the same rows in the same order. Plain SQL but for the lines that begin with a backslash and :rows.
\set ON_ERROR_STOP 1
\if :{?rows} \else \set rows 200000 \endif
SET client_min_messages = warning;
SET synchronous_commit = off;
SET max_parallel_workers_per_gather = 0;

DROP TABLE IF EXISTS dia_source;
DO $$ BEGIN
  EXECUTE (SELECT format(
    'CREATE TABLE dia_source ("diaSourceId" int8 NOT NULL, visit int8 NOT NULL, detector int2 NOT NULL, "diaObjectId" int8, "midpointMjdTai" float8, ra float8, "dec" float8, %s, %s)',
    string_agg(format('f%s float%s', i, CASE WHEN i % 2 = 1 THEN 4 ELSE 8 END), ', ' ORDER BY i) FILTER (WHERE i < 40),
    string_agg(format('flag%s bool', i - 40), ', ' ORDER BY i) FILTER (WHERE i >= 40))
  FROM generate_series(0, 51) i);
END $$;

-- What fills the table takes the number of rows as its argument: psql puts no variable into a quoted body.
CREATE FUNCTION pg_temp.fill_dia_source(rows bigint) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
  PERFORM setseed(0.5);
  EXECUTE (SELECT format(
    'INSERT INTO dia_source SELECT 170000000000000000 + g, 20250000000 + g/1000, (g %% 189)::int2, CASE WHEN g %% 7 = 0 THEN NULL ELSE g*31 END, 60800 + random()*300, random()*360, random()*180 - 90, %s, %s FROM generate_series(1, %s) g',
    string_agg('CASE WHEN random() < 0.02 THEN ''NaN''::float8 ELSE random()*1000 END', ', ') FILTER (WHERE i < 40),
    string_agg(format('g %% %s = 0', i - 38), ', ' ORDER BY i) FILTER (WHERE i >= 40), rows)
  FROM generate_series(0, 51) i);
END $$;
SELECT pg_temp.fill_dia_source(:rows);
ANALYZE dia_source;

"""Reads the logs of runs as a user would, with polars, pandas, DuckDB and pyarrow, and holds them against each other.

    python read_logs.py OUT [growing]

OUT holds a folder run=<id> for each run; `growing` says that they are written to, so who reads later may find more rows behind the same. Prints one line of JSON: for each table its rows, and, but for the tables with times in them, the SHA-256
of its contents, which does not depend on how the rows lie in the files. Exits with 1 and a message where the four do not agree.
"""

import glob
import hashlib
import json
import math
import os
import struct
import sys

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet

METRICS = ["loss", "acc", "prob", "in_context_acc", "in_context_prob", "out_context_acc", "out_context_prob", "use_context_prob"]
COLUMNS = {
    "train": ["run_id", "sequences", "loss", "grad_norm", "grad_spread", "learning_rate"],
    "timing": ["run_id", "sequences", "seconds"],
    "eval": ["run_id", "sequences", "evaluator", *METRICS],
    "eval_examples": ["run_id", "sequences", "evaluator", "example", *METRICS],
    "run": None,  # The experiment's keys are columns: whatever they are, they are the same in all runs.
}
WITH_TIMES = ["timing", "run"]


def main(out, growing=False):
    folders = sorted(glob.glob(os.path.join(glob.escape(out), "run=*")))
    expect(folders, f"{out}: no folder run=<id>")
    report = {}
    for table, columns in COLUMNS.items():
        rows = read_alike(out, folders, table, columns, growing)
        report[table] = {"rows": len(rows)}
        if table not in WITH_TIMES:
            report[table]["sha256"] = digest(columns, rows)
    print(json.dumps(report))


def read_alike(out, folders, table, columns, growing):
    """The rows of a table of all runs, in their order, read in four ways."""
    pattern = os.path.join(glob.escape(out), "run=*", f"{table}.parquet")
    files = [os.path.join(folder, f"{table}.parquet") for folder in folders]
    for file in files:
        expect(os.path.isfile(file), f"{file}: not there")

    # One file at a time with pyarrow and pandas, ...
    rows = []
    for file in files:
        read = pa.parquet.read_table(file, partitioning=None)
        columns = columns or read.column_names
        expect(read.column_names == columns, f"{file}: pyarrow reads columns {read.column_names}, not {columns}")
        of_file = list(zip(*(column.to_pylist() for column in read.columns)))
        frame = pd.read_parquet(file)
        frame = frame[without_run(frame.columns)]
        # Pandas has one empty value for both null and not a number.
        of_pandas = zip(*([None if pd.isna(value) else value for value in frame[name]] for name in frame.columns))
        nothing_twice = [tuple(None if is_nan(value) else value for value in row) for row in of_file]
        expect_alike(file, "pandas", frame.columns.tolist(), list(of_pandas), columns, nothing_twice, growing)
        rows += of_file
    # ... and all files at once with polars and DuckDB.
    frame = pl.scan_parquet(pattern).collect()
    frame = frame.select(without_run(frame.columns))
    expect_alike(pattern, "polars", frame.columns, frame.rows(), columns, rows, growing)
    relation = duckdb.sql(f"select * from read_parquet({quoted(pattern)})")
    relation = relation.project(", ".join(f'"{name}"' for name in without_run(relation.columns)))
    expect_alike(pattern, "DuckDB", relation.columns, relation.fetchall(), columns, rows, growing)
    return rows


def without_run(columns):
    """Without the column that a reader may make of the folder's name run=<id>."""
    return [name for name in columns if name != "run"]


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def expect_alike(what, reader, columns, rows, expected_columns, expected, growing):
    expect(columns == expected_columns, f"{what}: {reader} reads columns {columns}, pyarrow {expected_columns}")
    if growing:
        run = columns.index("run_id")
        runs = dict.fromkeys(row[run] for row in expected)
        begin = {name: sum(row[run] == name for row in expected) for name in runs}
        rows = [row for name in runs for row in [row for row in rows if row[run] == name][: begin[name]]]
    expect(len(rows) == len(expected), f"{what}: {reader} reads {len(rows)} rows, pyarrow {len(expected)}")
    for number, (row, expected_row) in enumerate(zip(rows, expected)):
        for name, value, other in zip(columns, row, expected_row):
            alike = value == other or (is_nan(value) and is_nan(other))
            expect(alike, f"{what}: {reader} reads {value!r} as {name} of row {number}, pyarrow {other!r}")


def is_nan(value):
    return isinstance(value, float) and math.isnan(value)


def digest(columns, rows):
    """SHA-256 of the columns' names and of all values, row by row, each with its kind and, for texts, its length."""
    hasher = hashlib.sha256("\n".join(columns).encode())
    for row in rows:
        for value in row:
            match value:
                case None:
                    hasher.update(b"0")
                case str():
                    text = value.encode()
                    hasher.update(b"s" + struct.pack("<q", len(text)) + text)
                case int():
                    hasher.update(b"i" + struct.pack("<q", value))
                case _:
                    hasher.update(b"f" + struct.pack("<d", value))
    return hasher.hexdigest()


def expect(held, message):
    if not held:
        sys.exit(message)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [out]:
            main(out)
        case [out, "growing"]:
            main(out, growing=True)
        case _:
            print(__doc__, file=sys.stderr)
            sys.exit(2)

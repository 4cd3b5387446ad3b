"""The ledger's rows as a file, made while it is sent: CSV for spreadsheets, Parquet for programs. Texts stay out.

Knows pandas and the rows, no HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import asdict, fields
from typing import Any, Literal, Unpack

from engine.errors import BadValue
from engine.usage import TEXTS, Ledger, Row
from engine.usage_queries import Filters

Kind = Literal["csv", "parquet"]
USAGE_FILES = {"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}
PIECE = 20_000  # rows
COLUMNS = tuple(f.name for f in fields(Row) if f.name not in TEXTS)
WORDS = tuple(f.name for f in fields(Row) if f.name in COLUMNS and f.type in ("str", "str | None"))
WHOLE = tuple(f.name for f in fields(Row) if f.type == "int")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with these a spreadsheet would begin to reckon


async def export_usage(
    ledger: Ledger, kind: Kind, **filters: Unpack[Filters]
) -> AsyncGenerator[bytes]:
    """The rows as pieces of a file of this kind, oldest first.

    Raises:
        BadValue: there is no such kind.
    """
    if kind not in USAGE_FILES:
        raise BadValue(f"format: there are {' and '.join(USAGE_FILES)}.", param="format")
    writer = _Parquet() if kind == "parquet" else _Csv()
    async for rows in ledger.pieces(PIECE, **filters):
        yield await asyncio.to_thread(writer.write, rows)
    yield await asyncio.to_thread(writer.end)


def _frame(rows: list[Row]) -> Any:
    import pandas as pd

    values = [asdict(row) for row in rows]
    frame = pd.DataFrame([[value[name] for name in COLUMNS] for value in values], columns=COLUMNS)
    for name in WORDS:
        frame[name] = frame[name].fillna("").astype(str)
    frame["started_at"] = pd.to_datetime(frame["started_at"], utc=True)
    return frame


class _Csv:
    """One header line, then a line a row."""

    def __init__(self) -> None:
        self._begun = False

    def write(self, rows: list[Row]) -> bytes:
        frame = _frame(rows)
        for name in WORDS:
            risky = frame[name].str.startswith(FORMULA)
            frame[name] = frame[name].where(~risky, "'" + frame[name])
        text: str = frame.to_csv(
            index=False, header=not self._begun, date_format="%Y-%m-%dT%H:%M:%S.%fZ"
        )
        self._begun = True
        return text.encode()

    def end(self) -> bytes:
        return b"" if self._begun else self.write([])


class _Parquet:
    """A row group a piece, its bytes taken away as they are written."""

    def __init__(self) -> None:
        self._sink = _Sink()
        self._writer: Any = None

    def write(self, rows: list[Row]) -> bytes:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {"started_at": pa.timestamp("us", tz="UTC")}
        kinds |= {name: pa.string() for name in WORDS} | {name: pa.int64() for name in WHOLE}
        schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in COLUMNS])
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._sink, schema, compression="zstd")
        frame = _frame(rows)
        self._writer.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False))
        return self._sink.taken()

    def end(self) -> bytes:
        before = self.write([]) if self._writer is None else b""
        self._writer.close()
        return before + self._sink.taken()


class _Sink:
    """A file that only grows, and gives away what was written since it was asked last."""

    def __init__(self) -> None:
        self.closed = False
        self._parts: list[bytes] = []

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)

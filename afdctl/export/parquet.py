"""Rows as an Apache Parquet file, in memory that hardly grows with the number of training steps among them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from afdctl.errors import AfdctlError
from afdctl.formatting import encodable

if TYPE_CHECKING:
    import pyarrow as pa

# rows of a row group
GROUP_ROWS: Final = 1 << 16
# rows that are in memory at once as dictionaries
BATCH_ROWS: Final = 4096

Row = Mapping[str, Any]


class NumberLines(NamedTuple):
    """Rows as lines of numbers with commas between them, `null` for none; all have the `constants` besides."""

    constants: Mapping[str, str]
    names: Sequence[str]
    text: bytes


# can be iterated more than once
Blocks = Iterable[Row | NumberLines]


def parquet(blocks: Blocks, first: Sequence[str] = (), metadata: Mapping[str, str] | None = None) -> bytes:
    """Write rows, and blocks of them, as a Parquet file with a column for each key, null where a row lacks it.

    Columns are in the order of appearance, but those of `first` come first. A column without any value has type
    float64. Error: AfdctlError where pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet as pq
    except ImportError:
        raise AfdctlError("parquet needs pyarrow; install it with `pip install 'afdctl[parquet]'`") from None
    texts = {name: encodable(value) for name, value in (metadata or {}).items()}
    schema = _schema(blocks, first).with_metadata(texts)
    buffer = BytesIO()
    with pq.ParquetWriter(buffer, schema) as writer:
        group, count = [schema.empty_table()], 0
        for batch in _batches(blocks):
            group.append(_typed_table(batch, schema))
            count += len(group[-1])
            if count >= GROUP_ROWS:
                writer.write_table(pa.concat_tables(group))
                group, count = [schema.empty_table()], 0
        writer.write_table(pa.concat_tables(group))
    return buffer.getvalue()


def _batches(blocks: Blocks) -> Iterator[list[Row] | NumberLines]:
    """Yield rows in lists of at most `BATCH_ROWS`, and the blocks between them."""
    rows: list[Row] = []
    for block in blocks:
        if rows and (isinstance(block, NumberLines) or len(rows) == BATCH_ROWS):
            yield rows
            rows = []
        if isinstance(block, NumberLines):
            yield block
        else:
            rows.append({name: _encodable(value) for name, value in block.items()})
    if rows:
        yield rows


def _schema(blocks: Blocks, first: Sequence[str]) -> "pa.Schema":
    """Return the columns; all values of a column decide its type."""
    import pyarrow as pa

    # by their text, as most batches have the same
    schemas = {"": pa.schema([])}
    for batch in _batches(blocks):
        schema = _table(batch).schema
        schemas[str(schema)] = schema
    # names in the order of appearance
    types = pa.unify_schemas(list(schemas.values()), promote_options="permissive")
    # a column of type null would differ from that of another file, and both could not be read as one table
    found = {each.name: pa.float64() if pa.types.is_null(each.type) else each.type for each in types}
    order = [*(name for name in first if name in found), *(name for name in found if name not in first)]
    return pa.schema([(name, found[name]) for name in order])


def _table(batch: list[Row] | NumberLines) -> "pa.Table":
    """Return rows with the types of their values."""
    import pyarrow as pa

    if isinstance(batch, NumberLines):
        return _read_lines(batch, {})
    names = dict.fromkeys(name for row in batch for name in row)
    return pa.table({name: pa.array([row.get(name) for row in batch]) for name in names})


def _typed_table(batch: list[Row] | NumberLines, schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    if not isinstance(batch, NumberLines):
        return pa.Table.from_pylist(batch, schema)
    table = _read_lines(batch, {each.name: each.type for each in schema})
    for each in (each for each in schema if each.name not in table.column_names):
        table = table.append_column(each, pa.nulls(len(table), each.type))
    return table.select(schema.names).cast(schema)


def _read_lines(block: NumberLines, types: Mapping[str, "pa.DataType"]) -> "pa.Table":
    """Return the rows of a block; columns that are not in `types` have that of their values."""
    import pyarrow as pa
    from pyarrow import csv

    table = csv.read_csv(
        BytesIO(block.text),
        csv.ReadOptions(column_names=list(block.names), use_threads=False),
        convert_options=csv.ConvertOptions(null_values=["null"], column_types=dict(types)),
    )
    for place, (name, value) in enumerate(block.constants.items()):
        table = table.add_column(place, name, pa.repeat(_encodable(value), len(table)))
    return table


def _encodable(value: Any) -> Any:
    return encodable(value) if isinstance(value, str) else value

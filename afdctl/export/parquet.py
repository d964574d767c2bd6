"""Records as an Apache Parquet file, with pyarrow."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

from afdctl.errors import AfdctlError
from afdctl.formatting import encodable

Record = Mapping[str, Any]


def parquet(records: Sequence[Record], metadata: Mapping[str, str] | None = None) -> bytes:
    """The file's bytes: a column a key, in the order in which the records first have them.

    A column without any value is one of floats. Error: AfdctlError where pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet as files
    except ImportError:
        raise AfdctlError("parquet needs pyarrow; install it with `pip install 'afdctl[parquet]'`") from None
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: pa.array([_storable(record.get(name)) for record in records]) for name in names}
    table = pa.table(
        {
            name: column.cast(pa.float64()) if pa.types.is_null(column.type) else column
            for name, column in columns.items()
        }
    )
    written = BytesIO()
    facts = {name: encodable(value) for name, value in (metadata or {}).items()}
    files.write_table(table.replace_schema_metadata(facts), written)
    return written.getvalue()


def _storable(value: Any) -> Any:
    return encodable(value) if isinstance(value, str) else value

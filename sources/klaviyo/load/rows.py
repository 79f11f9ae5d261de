"""Steps of a user's own, row by row: `source.profiles.add_map(map_rows(hash_email))`.

The items of a resource are Arrow tables, so a function given to dlt's `add_map` or `add_filter` takes a whole table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow as pa

from .redefinition import ReadBack

Row = dict[str, Any]
#: A table, or a row of a report whose columns dlt infers.
Item = TypeVar("Item")


def map_rows(change: Callable[[Row], Row]) -> Callable[[Item], Item]:
    """A step for `add_map` that changes every row.

    Columns keep their types; a new column gets the type of its values.

    Args:
        change: takes a row as a dict of Python values and returns the new one.
    """

    def step(item: Any, meta: Any = None) -> Any:
        if isinstance(meta, ReadBack):
            return item
        if not isinstance(item, pa.Table):
            return change(item)
        rows = [change(row) for row in item.to_pylist()]
        names = dict.fromkeys([*item.schema.names, *(name for row in rows for name in row)])
        arrays = {}
        for name in names:
            known = item.schema.field(name).type if name in item.schema.names else None
            arrays[name] = pa.array([row.get(name) for row in rows], known)
        # A column that the change took out of every row goes.
        kept = [name for name in names if not rows or any(name in row for row in rows)]
        return pa.table({name: arrays[name] for name in kept})

    return step


def filter_rows(keep: Callable[[Row], bool]) -> Callable[[Item], Item | None]:
    """A step for `add_map` that leaves rows out. dlt's own `add_filter` would take or leave a whole table.

    Args:
        keep: takes a row as a dict of Python values; False leaves it out.
    """

    def step(item: Any, meta: Any = None) -> Any:
        if isinstance(meta, ReadBack):
            return item
        if not isinstance(item, pa.Table):
            return item if keep(item) else None
        return item.filter(pa.array([keep(row) for row in item.to_pylist()], pa.bool_()))

    return step

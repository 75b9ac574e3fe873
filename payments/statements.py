"""Frequent SQL statements, compiled once and reused. Compiling them for each stake would take most of the site's time.

`insert` and `update` send no pre_save and post_save signals, and ignore auto_now.
tests/payments/test_hot_statements.py compares the results with the ORM's on SQLite and PostgreSQL.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import cache, lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Generic, NamedTuple, TypeVar

from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, DatabaseError, connections, models, transaction
from django.db.models import QuerySet
from django.db.models.base import ModelState
from django.db.models.query import ModelIterable
from django.db.models.sql import UpdateQuery
from django.db.transaction import TransactionManagementError

from payments.database import NO_WAIT_SQL

T = TypeVar("T")
Row = TypeVar("Row", bound=models.Model)

_DB = DEFAULT_DB_ALIAS
# Placeholders that show where each argument appears in the compiled SQL. They must differ from its other parameters.
_MARKS: dict[type, Callable[[int], Any]] = {
    int: lambda number: 1_900_000_000 + number,
    str: lambda number: f"<argument {number}>",
    datetime: lambda number: datetime(1901, 1, 1, tzinfo=timezone.utc) + timedelta(days=number),
    IPv4Address: lambda number: IPv4Address(f"0.0.0.{number + 1}"),
    IPv6Address: lambda number: IPv6Address(f"::{number + 1}"),
}
_ADDRESSES = (IPv4Address, IPv6Address)
# Matches text that needs no quotes or escapes inside an SQL literal.
_LITERAL = re.compile(r"[\w :-]*", re.ASCII)


# Maximum number of cursors that one connection keeps.
_MOST_CURSORS = 100
_NONE_KEPT: tuple[Any, dict[tuple[str, bool], Any]] = (None, {})


def _executed(connection: Any, sql: str, parameters: Sequence[Any]) -> Any:
    """Run a statement and return its cursor. The caller must read the result before the statement runs again.

    On PostgreSQL the cursor is kept. A new cursor would determine again how each parameter and column is converted.
    """
    if connection.vendor != "postgresql":
        cursor = connection.cursor()
    else:
        if not connection.health_check_done:
            connection.close_if_health_check_failed()
        if connection.connection is None:
            connection.ensure_connection()
        opened, cursors = getattr(connection, "_kept_cursors", _NONE_KEPT)
        if opened is not connection.connection or len(cursors) >= _MOST_CURSORS:
            cursors = {}
            connection._kept_cursors = connection.connection, cursors
        # If a test counts the statements, Django wraps cursors in another class. Such a cursor is kept under its own
        # key.
        key = sql, connection.force_debug_cursor
        cursor = cursors.get(key)
        if cursor is None:
            cursor = cursors[key] = connection.cursor()
    cursor.execute(sql, parameters)
    return cursor


# One function for each parameter of the SQL. Each function computes its parameter from the call's arguments.
_Parameters = tuple[Callable[[dict[str, Any]], Any], ...]


class _Compiled(NamedTuple):
    sql: str
    parameters: _Parameters
    # For each column that needs a conversion: its index, the functions that convert its values, and its expression.
    converters: list[tuple[int, Any, Any]]
    # Converts the values of a row to a model instance or a tuple.
    read: Callable[[Sequence[Any]], Any]
    # True if the statement locks rows. Such a statement needs a transaction.
    locks: bool


class Select(Generic[T]):
    """A queryset that is compiled at its first call.

    `build` returns the queryset for its arguments. An argument is an int, a str, a datetime or an IP address. It must
    reach the SQL unchanged, as with `=`, or be the start of a slice. All other values in the queryset are fixed at the
    first call.
    """

    def __init__(self, build: Callable[..., "QuerySet[Any, T]"]) -> None:
        self.build = build
        self._compiled: dict[str, _Compiled] = {}

    def __call__(self, **arguments: Any) -> list[T]:
        """Run the statement and return its rows. Raises TypeError for an unsupported argument, such as None."""
        connection = connections[_DB]
        values = {name: _prepared(value, connection) for name, value in arguments.items()}
        compiled = self._compiled.get(connection.vendor)
        if compiled is None:
            compiled = self._compiled[connection.vendor] = self._compile(arguments)
        # Outside a transaction, the locks would end with the statement. The ORM raises the same error.
        if compiled.locks and connection.get_autocommit():
            raise TransactionManagementError("select_for_update cannot be used outside of a transaction.")
        cursor = _executed(connection, compiled.sql, [parameter(values) for parameter in compiled.parameters])
        rows = cursor.fetchall()
        if compiled.converters:
            rows = [list(row) for row in rows]
            for row in rows:
                for index, functions, expression in compiled.converters:
                    for function in functions:
                        row[index] = function(row[index], expression, connection)
        return [compiled.read(row) for row in rows]

    def first(self, **arguments: Any) -> T | None:
        """Run the statement and return its first row, or None."""
        return next(iter(self(**arguments)), None)

    def _compile(self, arguments: dict[str, Any]) -> _Compiled:
        marks = _marks(arguments)
        queryset = self.build(**marks)
        compiler = queryset.query.get_compiler(using=_DB)
        sql, parameters = compiler.as_sql()
        sql, places = _placed(sql, parameters, marks)
        columns = [column for column, _sql, _alias in compiler.select[: compiler.col_count]]
        converters = [(index, *found) for index, found in compiler.get_converters(columns).items()]
        locks = queryset.query.select_for_update and compiler.connection.features.has_select_for_update
        return _Compiled(sql, places, converters, _reader(queryset, compiler), locks)


class Update:
    """An UPDATE that is compiled at its first call.

    `build` returns a queryset and the values for its `update()`. The rules for its arguments are those of `Select`.
    """

    def __init__(self, build: Callable[..., tuple["QuerySet[Any]", dict[str, Any]]]) -> None:
        self.build = build
        self._compiled: dict[str, tuple[str, _Parameters]] = {}

    def __call__(self, **arguments: Any) -> int:
        """Run the statement and return the number of updated rows. Raises TypeError for an unsupported argument."""
        connection = connections[_DB]
        values = {name: _prepared(value, connection) for name, value in arguments.items()}
        if connection.vendor not in self._compiled:
            marks = _marks(arguments)
            queryset, changes = self.build(**marks)
            query: Any = queryset.query.chain(UpdateQuery)
            query.add_update_values(changes)
            sql, sent = query.get_compiler(using=_DB).as_sql()
            self._compiled[connection.vendor] = _placed(sql, sent, marks)
        sql, parameters = self._compiled[connection.vendor]
        with transaction.mark_for_rollback_on_error(_DB):
            return int(_executed(connection, sql, [parameter(values) for parameter in parameters]).rowcount)


def _marks(arguments: dict[str, Any]) -> dict[str, Any]:
    return {name: _MARKS[type(value)](number) for number, (name, value) in enumerate(arguments.items())}


def _placed(sql: str, parameters: Sequence[Any], marks: dict[str, Any]) -> tuple[str, _Parameters]:
    """Return the SQL of a compiled statement, and for each parameter a function of the arguments of a call.

    `marks`: the placeholder of each argument. Raises ValueError if the SQL does not contain all placeholders.
    """
    sent = {name: _prepared(mark, connections[_DB]) for name, mark in marks.items()}
    left = dict(marks)
    places: list[Callable[[dict[str, Any]], Any]] = []
    texts = []
    for value in parameters:
        name = next((name for name, mark in sent.items() if value == mark), None)
        if name is None and isinstance(value, str) and _LITERAL.fullmatch(value):
            texts.append(f"'{value}'")
            continue
        texts.append("%s")
        places.append(_constant(value) if name is None else _argument(name, type(value)))
        left.pop(name or "", None)
    placeholders = iter(texts)
    sql = re.sub("%[%s]", lambda found: next(placeholders) if found[0] == "%s" else "%%", sql)
    for name, mark in list(left.items()):
        # Django writes OFFSET as a number, not as a parameter. It is the last value in the SQL.
        if f"OFFSET {mark}" in sql:
            sql = sql.replace(f"OFFSET {mark}", "OFFSET %s")
            places.append(_argument(name, int))
            del left[name]
    if left:
        raise ValueError(f"The statement does not contain its arguments: {', '.join(sorted(left))}")
    return sql, tuple(places)


def _reader(queryset: Any, compiler: Any) -> Callable[[Sequence[Any]], Any]:
    """Return a function that converts the values of a row to an instance, or to a tuple for a `values_list`."""
    if not issubclass(queryset._iterable_class, ModelIterable):
        return tuple
    read, annotations = _instance_reader(compiler.klass_info, compiler.select), compiler.annotation_col_map

    def read_all(row: Sequence[Any]) -> Any:
        instance = read(row)
        for name, index in annotations.items():
            setattr(instance, name, row[index])
        return instance

    return read_all if annotations else read


def _instance_reader(info: dict[str, Any], select: Any) -> Callable[[Sequence[Any]], Any]:
    """Return a function that makes a model instance, with its `select_related` instances, from a row.

    `Model.__init__` is not called, because it takes longer than the query.
    """
    model, indexes = info["model"], info["select_fields"]
    first, last = indexes[0], indexes[-1] + 1
    names = [column.target.attname for column, _sql, _alias in select[first:last]]
    key = first + names.index(model._meta.pk.attname)
    related = [
        (_instance_reader(other, select), other["local_setter"], other["remote_setter"])
        for other in info.get("related_klass_infos", ())
    ]

    def read(row: Sequence[Any]) -> Any:
        if row[key] is None:
            return None
        instance = model.__new__(model)
        instance._state = ModelState()
        instance._state.adding, instance._state.db = False, _DB
        instance.__dict__.update(zip(names, row[first:last], strict=True))
        for read_other, set_here, set_there in related:
            other = read_other(row)
            set_here(instance, other)
            if other is not None:
                set_there(other, instance)
        return instance

    return read


def _constant(value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda _values: value


def _argument(name: str, kind: type) -> Callable[[dict[str, Any]], Any]:
    """Return a function that extracts the argument `name` from the arguments of a call.

    `kind`: the type of the compiled parameter. If it is int or a subclass, the argument is converted to it.
    """
    if issubclass(kind, int):
        return lambda values: kind(values[name])
    return lambda values: values[name]


def _prepared(value: Any, connection: Any) -> Any:
    kind = type(value)
    if kind not in _MARKS:
        raise TypeError(f"{value!r} is no int, str, datetime or IP address")
    if kind is datetime:
        return connection.ops.adapt_datetimefield_value(value)
    return connection.ops.adapt_ipaddressfield_value(str(value)) if kind in _ADDRESSES else value


class _Column(NamedTuple):
    """A column of an INSERT or UPDATE.

    `sent`: functions that replace Django's conversion, keyed by the Python type of the value.
    """

    name: str
    field: Any
    sent: dict[type, Callable[[Any], Any]]
    is_null_by_default: bool


# Samples of frequent types. If a field's conversion returns a sample unchanged, values of this type are not converted.
_PROBES = ("text", True, 1, None, datetime(2000, 1, 1, tzinfo=timezone.utc))


def _column(field: Any) -> _Column:
    sent: dict[type, Callable[[Any], Any]] = {}
    for probe in () if isinstance(field, models.GenericIPAddressField) else _PROBES:
        with suppress(TypeError, ValueError, ValidationError):
            value = field.get_db_prep_save(probe, connections[_DB])
            if value is probe:
                sent[type(probe)] = _same
            elif type(probe) is int and isinstance(value, int) and value == probe:
                sent[int] = type(value)
    return _Column(field.attname, field, sent, field.null and not field.has_db_default())


def _same(value: Any) -> Any:
    return value


def _values(row: models.Model, columns: Sequence[_Column], connection: Any) -> list[Any]:
    """Return the values of the columns, converted for the database driver."""
    values = []
    for name, field, sent, _is_null in columns:
        value = getattr(row, name)
        send = sent.get(type(value))
        values.append(field.get_db_prep_save(value, connection) if send is None else send(value))
    return values


def new(model: type[Row], **values: Any) -> Row:
    """Return an unsaved instance, like `model(**values)`.

    Constant defaults of fields are determined only once, which saves a tenth of the CPU time for placing a stake.
    """
    constants, computed = _defaults(model)
    row = model.__new__(model)
    row._state = ModelState()
    row.__dict__.update(constants)
    for name, default in computed:
        if name not in values:
            row.__dict__[name] = default()
    for name, value in values.items():
        setattr(row, name, value)
    return row


@cache
def _defaults(model: type[models.Model]) -> tuple[dict[str, Any], list[tuple[str, Callable[[], Any]]]]:
    """Return the constant default values of a new instance, and functions that compute the other default values."""
    fields: list[Any] = list(model._meta.concrete_fields)
    computed = [f for f in fields if (callable(f.default) if f.has_default() else f.has_db_default())]
    constants = {field.attname: field.get_default() for field in fields if field not in computed}
    return constants, [(field.attname, field.get_default) for field in computed]


def insert(rows: Sequence[models.Model], *, locks: str = "", waits: bool = True) -> None:
    """Insert rows of one model with one statement, and set their primary keys. `rows` must not be empty.

    `locks`: the name of a unique field, or "". An existing row with the same value is locked, and the instance gets the
    primary key of that row. `waits`: if False, the commit does not wait for the disk on PostgreSQL.
    """
    connection = connections[_DB]
    model = type(rows[0])
    columns = _insert_columns(model, connection.vendor)
    values = [_values(row, columns, connection) for row in rows]
    # Leave out nullable columns that are NULL in every row. psycopg caches a parsed statement only if the statement has
    # at most 50 parameters.
    used = tuple(
        index
        for index, column in enumerate(columns)
        if not column.is_null_by_default or any(of_row[index] is not None for of_row in values)
    )
    sql = _insert_sql(model, used, len(rows), locks, waits, connection.vendor)
    with transaction.mark_for_rollback_on_error(_DB):
        cursor = _executed(connection, sql, [of_row[index] for of_row in values for index in used])
        keys = [found[0] for found in cursor.fetchall()]
    for row, key in zip(rows, keys, strict=True):
        row.pk = key
        row._state.adding, row._state.db = False, _DB


@cache
def _insert_columns(model: type[models.Model], vendor: str) -> list[_Column]:
    return [_column(field) for field in model._meta.concrete_fields if field is not model._meta.pk]


@lru_cache(maxsize=_MOST_CURSORS)
def _insert_sql(
    model: type[models.Model], used: tuple[int, ...], rows: int, locks: str, waits: bool, vendor: str
) -> str:
    quote, key = connections[_DB].ops.quote_name, model._meta.pk
    fields = _insert_columns(model, vendor)
    columns = ", ".join(quote(fields[index].field.column) for index in used)
    head = f"INSERT INTO {quote(model._meta.db_table)} ({columns}) VALUES "  # noqa: S608 names of models only
    unique = quote(locks)
    conflict = f" ON CONFLICT ({unique}) DO UPDATE SET {unique} = EXCLUDED.{unique}" if locks else ""
    tail = f"{conflict} RETURNING {quote(key.attname)}"
    if not waits and vendor == "postgresql":
        tail += f", {NO_WAIT_SQL}"
    row_sql = f"({', '.join(['%s'] * len(used))})"
    return f"{head}{', '.join([row_sql] * rows)}{tail}"


def update(row: models.Model, names: Sequence[str]) -> None:
    """Save the named fields of a row. Raises DatabaseError if the row no longer exists."""
    connection = connections[_DB]
    fields, sql = _update_sql(type(row), tuple(names), connection.vendor)
    values = _values(row, fields, connection)
    with transaction.mark_for_rollback_on_error(_DB):
        if _executed(connection, sql, [*values, row.pk]).rowcount != 1:
            raise DatabaseError(f"The row {row.pk} of {row._meta.db_table} is gone.")


@cache
def _update_sql(model: type[models.Model], names: tuple[str, ...], vendor: str) -> tuple[list[_Column], str]:
    quote = connections[_DB].ops.quote_name
    fields = [_column(model._meta.get_field(name)) for name in names]
    columns = ", ".join(f"{quote(column.field.column)} = %s" for column in fields)
    table, key = quote(model._meta.db_table), quote(model._meta.pk.attname)
    return fields, f"UPDATE {table} SET {columns} WHERE {key} = %s"  # noqa: S608 names of models only

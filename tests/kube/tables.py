"""Objects as a Table, the form in which kubectl asks for what it prints: name and age, or the columns of the CRD."""

from datetime import datetime
from typing import Any

from tests.kube.errors import Object
from tests.kube.kinds import Kind

_NAME: Object = {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}
_AGE: Object = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def wants_table(accept: str) -> bool:
    return "as=Table" in accept


def table(kind: Kind, items: list[Object], metadata: Object, now: datetime) -> Object:
    columns = [*kind.columns] or [_AGE]
    described = [
        _NAME,
        *({"format": "", "description": "", "priority": 0, **_without_path(column)} for column in columns),
    ]
    rows = [
        {
            "cells": [item["metadata"]["name"], *(_cell(item, column, now) for column in columns)],
            "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]},
        }
        for item in items
    ]
    head = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
    return {**head, "columnDefinitions": described, "rows": rows}


def _without_path(column: Object) -> Object:
    return {name: value for name, value in column.items() if name != "jsonPath"}


def _cell(item: Object, column: Object, now: datetime) -> Any:
    """The value at a path of plain names, '' when there is none or the path is more than that."""
    found: Any = item
    for name in column["jsonPath"].strip(".").split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if found is None or isinstance(found, dict | list):
        return ""
    return _age(found, now) if column["type"] == "date" else found


def _age(stamp: str, now: datetime) -> str:
    seconds = int((now - datetime.fromisoformat(stamp)).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"

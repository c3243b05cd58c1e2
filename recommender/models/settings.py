"""What can be set of a model, read from its source: no model is imported, and so no torch."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Setting:
    """One field of a model's config: its type and default as written, and what its docstring says."""

    name: str
    type: str
    default: str
    note: str


@dataclass(frozen=True, slots=True)
class Settings:
    """All fields of a model's config; ``origin`` is where the defaults come from that have no note."""

    origin: str
    fields: tuple[Setting, ...]


def settings_of(module: str) -> Settings:
    """The config of the model in ``module``, with the fields that it inherits first."""
    return _read(module, "Config")


def _read(module: str, name: str) -> Settings:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    config = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if config is None:
        return _read(_imported_from(tree, name), name)
    fields: dict[str, Setting] = {}
    for base in config.bases:
        if isinstance(base, ast.Name):
            fields |= {field.name: field for field in _read(module, base.id).fields}
    for node, following in zip(config.body, [*config.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            written = ast.unparse(node.annotation), ast.unparse(node.value)
            fields[node.target.id] = Setting(node.target.id, *written, _text(following))
    return Settings(_text(config.body[0]), tuple(fields.values()))


def _imported_from(tree: ast.Module, name: str) -> str:
    """The module that ``tree`` has ``name`` from."""
    return next(
        str(node.module)
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names)
    )


def _text(node: ast.stmt | None) -> str:
    """The words of a statement that is only a string."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return " ".join(str(node.value.value).split())
    return ""

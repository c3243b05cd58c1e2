"""Settings of a workspace: argument > environment (``LORE_…``) > ``lore.toml`` > default.

An environment variable names the section and the key: ``LORE_STORE__URL``, ``LORE_LANGUAGE__MODEL``. Unknown
keys are refused, with the nearest known one.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from posixpath import normpath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from kg.errors import ConfigurationError

ENVIRONMENT_PREFIX = "LORE_"
_NOT_SETTINGS = frozenset(
    {
        "LORE_WORKSPACE",
        "LORE_DATA",
        "LORE_TEST_NEO4J",
        "LORE_UPDATE_OPENAPI",
        "LORE_NEO4J_HOME",
        "LORE_BUFFER_POOL_MB",
    }
)
_HASH = re.compile(r"[0-9a-f]{64}")
_READABLE = {
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text in quotes",
    "tuple_type": 'must be a list, like ["…"]',
    "literal_error": "must be one of {expected}",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(_Section):
    """Where the graph is: a folder in the workspace (embedded), or a Neo4j URL."""

    url: str = "graph"
    user: str = "neo4j"
    password: SecretStr = SecretStr("")
    database: str = "neo4j"

    @field_validator("url")
    @classmethod
    def _names_a_place(cls, url: str) -> str:
        url = url.strip()
        # The workspace itself or a folder above it holds more than the graph, which a rebuild deletes.
        if "://" not in url and normpath(url).partition("/")[0] in (".", ".."):
            raise _refused("is no place for a graph", "Name a folder inside the workspace, or a bolt:// URL.")
        return url


class ExtractionSettings(_Section):
    """How text becomes facts."""

    extractor: Literal["local", "llm"] = "local"
    max_characters: int = Field(default=2000, ge=200)
    concurrency: int = Field(default=8, ge=1)
    resolve: bool = True


class LanguageSettings(_Section):
    """The chat model, behind any OpenAI-compatible URL. ``api_key`` falls back on ``OPENAI_API_KEY``."""

    model: str = "gpt-5-mini"
    base_url: str | None = None
    api_key: SecretStr = SecretStr("")
    max_in_flight: int = Field(default=16, ge=1)
    budget_dollars: float | None = Field(default=None, gt=0)
    dollars_per_million_prompt_tokens: float = Field(default=0.0, ge=0)
    dollars_per_million_completion_tokens: float = Field(default=0.0, ge=0)


class ServerSettings(_Section):
    """The REST server. ``key_hashes`` are SHA-256 of API keys; without one it only listens on loopback."""

    host: str = "127.0.0.1"
    port: int = Field(default=8321, ge=0, le=65535)
    key_hashes: tuple[str, ...] = ()
    requests_per_minute: int = Field(default=600, ge=1)
    max_body_bytes: int = Field(default=1_000_000, ge=1024)

    @field_validator("key_hashes")
    @classmethod
    def _are_hashes(cls, hashes: tuple[str, ...]) -> tuple[str, ...]:
        found = tuple(value for given in hashes if (value := given.strip().lower()))
        if not all(_HASH.fullmatch(value) for value in found):
            raise _refused(
                "holds something that is not a SHA-256 (64 hex digits)",
                "Make one from a key: `printf %s KEY | sha256sum`.",
            )
        return found


class Settings(_Section):
    """All sections of ``lore.toml``."""

    store: StoreSettings = StoreSettings()
    extraction: ExtractionSettings = ExtractionSettings()
    language: LanguageSettings = LanguageSettings()
    server: ServerSettings = ServerSettings()


def read_settings(path: Path, environment: Mapping[str, str] | None = None) -> Settings:
    """Read ``lore.toml`` and lay the environment over it.

    Raises :class:`~kg.errors.ConfigurationError` naming the key that is wrong, and where it was set.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as problem:
        raise ConfigurationError(f"this is not valid TOML: {problem}.", where=str(path)) from None
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigurationError(f"the file cannot be read: {problem}.", where=str(path)) from None
    _refuse_unknown(data, Settings, str(path))
    variables: dict[tuple[str, str], str] = {}
    for name, value in sorted((os.environ if environment is None else environment).items()):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in _NOT_SETTINGS:
            variables[_lay_over(data, name, value)] = name
    try:
        return Settings.model_validate(data)
    except ValidationError as problem:
        first = problem.errors()[0]
        section, key = str(first["loc"][0]), str(first["loc"][1])
        variable = variables.get((section, key))
        where = str(path) if variable is None else f"environment variable {variable}"
        what = f"{section}.{key} {_readable(first)}."
        raise ConfigurationError(what, where=where, hint=first.get("ctx", {}).get("hint")) from None


def _refused(what: str, hint: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{what}", {"what": what, "hint": hint})


def _readable(error: ErrorDetails) -> str:
    """What is wrong with a value, to follow the name of its key. Text is not repeated: it may be secret."""
    template = _READABLE.get(error["type"])
    if template is None:
        return error["msg"] if error["type"] == "refused" else f"is wrong: {error['msg']}"
    context = dict(error.get("ctx", {}))
    if "expected" in context:
        context["expected"] = context["expected"].replace("'", "").replace(" or ", ", ")
    shown = "" if error["type"] in ("string_type", "tuple_type") else f", not {error['input']!r}"
    return template.format(**context) + shown


def _lay_over(data: dict[str, Any], name: str, value: str) -> tuple[str, str]:
    section, separator, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
    where = f"environment variable {name}"
    if section in Settings.model_fields and not (separator and key):
        keys = list(getattr(Settings(), section).__class__.model_fields)
        raise ConfigurationError(
            f"{section} is a section with the keys {', '.join(keys)}.",
            where=where,
            hint=f"Write {ENVIRONMENT_PREFIX}{section.upper()}__{keys[0].upper()}=…",
        )
    _refuse_unknown({section: {key: value}}, Settings, where)
    data.setdefault(section, {})[key] = tuple(value.split(",")) if key == "key_hashes" else value
    return section, key


def _refuse_unknown(data: Mapping[str, Any], model: type[BaseModel], where: str, prefix: str = "") -> None:
    for key, value in data.items():
        field = model.model_fields.get(key)
        if field is None:
            close = get_close_matches(key, model.model_fields, n=1)
            guess = (
                f"Did you mean {prefix}{close[0]}?" if close else f"Known: {', '.join(model.model_fields)}."
            )
            raise ConfigurationError(f"unknown key {prefix}{key}.", where=where, hint=guess)
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            if not isinstance(value, Mapping):
                raise ConfigurationError(f"{prefix}{key} is a section: write [{key}].", where=where)
            _refuse_unknown(value, section, where, f"{key}.")

"""Settings of a workspace: argument > environment (``LORE_…``) > ``lore.toml`` > default.

An environment variable names the section and the key: ``LORE_STORE__URL``, ``LORE_LANGUAGE__MODEL``. Unknown
keys are refused, with the nearest known one.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from kg.errors import ConfigurationError

ENVIRONMENT_PREFIX = "LORE_"
_NOT_SETTINGS = frozenset(
    {
        "LORE_WORKSPACE",
        "LORE_DATA",
        "LORE_TEST_NEO4J",
        "LORE_NEO4J_HOME",
        "LORE_BUFFER_POOL_MB",
        "LORE_LANGUAGE_API_KEY",
    }
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(_Section):
    """Where the graph is: a folder in the workspace (embedded), or a Neo4j URL."""

    url: str = "graph"
    user: str = "neo4j"
    password: SecretStr = SecretStr("")
    database: str = "neo4j"


class ExtractionSettings(_Section):
    """How text becomes facts."""

    extractor: str = Field(default="local", pattern="^(local|llm)$")
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
    for name, value in sorted((os.environ if environment is None else environment).items()):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in _NOT_SETTINGS:
            _lay_over(data, name, value)
    try:
        return Settings.model_validate(data)
    except ValidationError as problem:
        first = problem.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{key}: {first['msg']}.", where=str(path)) from None


def _lay_over(data: dict[str, Any], name: str, value: str) -> None:
    section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
    _refuse_unknown({section: {key: value}}, Settings, f"environment variable {name}")
    data.setdefault(section, {})[key] = tuple(value.split(",")) if key == "key_hashes" else value


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

"""Open a graph store by its URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from kg.errors import ConfigurationError
from kg.schema import Schema
from kg.stores.store import GraphStore

NEO4J_SCHEMES = ("bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc")


def open_store(
    url: str,
    schema: Schema,
    *,
    user: str | None = None,
    password: str | None = None,
    database: str = "neo4j",
) -> GraphStore:
    """Open Neo4j for a ``bolt://`` or ``neo4j://`` URL (also ``+s``, ``+ssc``), else the folder at that path.

    A user and a password inside the URL win over the arguments. Raises
    :class:`~kg.errors.ConfigurationError` for any other kind of URL and for a missing password, and what
    opening the store raises.
    """
    if not url.strip():
        raise ConfigurationError(
            "no graph store is named.", where="store.url", hint="Give a folder or bolt://host:port."
        )
    scheme, separator, _ = url.partition("://")
    if not separator:
        from kg.stores.embedded import EmbeddedStore

        return EmbeddedStore(Path(url).expanduser(), schema)
    if scheme.lower() not in NEO4J_SCHEMES:
        raise ConfigurationError(
            f"{scheme}:// is no graph store.",
            where="store.url",
            hint=f"Give a folder, or a URL that starts with {', '.join(NEO4J_SCHEMES)}.",
        )
    from kg.stores.neo4j import Neo4jStore

    address, own_user, own_password = split_credentials(url)
    user, password = own_user or user or "neo4j", own_password or password
    if not password:
        raise ConfigurationError(
            f"no password is given for user {user!r} of {address}.",
            where="store.password",
            hint="Set the environment variable LORE_STORE__PASSWORD.",
        )
    return Neo4jStore(address, schema, user=user, password=password, database=database)


def split_credentials(url: str) -> tuple[str, str | None, str | None]:
    """Split ``bolt://user:password@host:port`` into the URL without them, the user and the password."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url, None, None
    credentials, _, place = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    bare = urlunsplit((parts.scheme, place, parts.path, parts.query, ""))
    return bare, unquote(user) or None, unquote(password) or None

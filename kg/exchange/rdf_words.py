"""rdflib, loaded when it is needed, with the vocabularies of the mapping."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kg.errors import ConfigurationError

BASE = "urn:loregraph:"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
RDFS = "http://www.w3.org/2000/01/rdf-schema#"
XSD = "http://www.w3.org/2001/XMLSchema#"
PROV = "http://www.w3.org/ns/prov#"
SYNTAX = {"turtle": "turtle", "trig": "trig", "jsonld": "json-ld", "nquads": "nquads"}
"""What rdflib calls each format."""


class Words:
    """The names of RDF, and those of this mapping.

    Raises :class:`~kg.errors.ConfigurationError` where rdflib is not installed.
    """

    def __init__(self) -> None:
        try:
            import rdflib
        except ImportError:
            raise ConfigurationError(
                "RDF needs rdflib.", hint="Install it with `pip install 'loregraph[rdf]'`."
            ) from None
        self.rdflib: Any = rdflib
        self.rdf: Any = rdflib.RDF
        self.vocab: Any = rdflib.Namespace(f"{BASE}vocab:")


@contextmanager
def quiet() -> Iterator[None]:
    """Let rdflib's own use of its deprecated names pass: no caller can mend it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield

"""The models by name. Listing them imports none of them, and so no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any, get_args, get_origin, get_type_hints
from typing import Literal as LiteralType

from kg.errors import UsageError
from recommender.models.settings import Settings, settings_of

Need = LiteralType["graph", "times", "ratings", "item_texts", "item_vectors", "user_vectors", "friends"]
NEEDS: Mapping[Need, str] = {
    "graph": "a knowledge graph",
    "times": "interactions with times",
    "ratings": "ratings, low ones too",
    "item_texts": "a text for each item",
    "item_vectors": "encoded texts of the items",
    "user_vectors": "encoded texts of the users",
    "friends": "pairs of users who know each other",
}
"""What a model may need beside interactions, for people."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """Where a model lives, what it needs, and the paper that it is from."""

    name: str
    module: str
    class_name: str
    description: str
    source: str
    needs: frozenset[Need] = frozenset()
    by_gradient: bool = True
    uses_graph: bool = False
    """Whether it takes a knowledge graph where there is one, and does without where there is none."""

    @property
    def needs_graph(self) -> bool:
        """Whether it looks at a knowledge graph."""
        return "graph" in self.needs

    def model_class(self) -> Any:
        """Import the model's class."""
        return getattr(import_module(self.module), self.class_name)

    def settings(self) -> Settings:
        """The fields of the model's config with their defaults and notes; imports no model."""
        return settings_of(self.module)

    def config_class(self) -> Any:
        """Import the class of its config: a frozen dataclass."""
        return import_module(self.module).Config

    def configure(self, options: Mapping[str, Any] | None = None) -> Any:
        """Make the model's config from its defaults and ``options``.

        Raises :class:`~kg.errors.UsageError` for an unknown option or a value of another type.
        """
        config_class = self.config_class()
        hints = get_type_hints(config_class)
        for name, value in (options or {}).items():
            if name not in hints:
                close = get_close_matches(name, list(hints), n=1)
                known = f"Did you mean {close[0]!r}?" if close else f"It has {', '.join(hints) or 'none'}."
                raise UsageError(f"{self.name} has no option {name!r}.", hint=known)
            if not _fits(value, hints[name]):
                raise UsageError(
                    f"{self.name}: {name} cannot be {value!r}.", hint=f"Give {_in_words(hints[name])}."
                )
        plain = {k: tuple(v) if isinstance(v, list) else v for k, v in (options or {}).items()}
        return dataclasses.replace(config_class(), **plain)


def _entry(
    name: str, class_name: str, description: str, source: str, *needs: Need, **more: bool
) -> ModelEntry:
    return ModelEntry(
        name, f"recommender.models.{name}", class_name, description, source, frozenset(needs), **more
    )


_ENTRIES = (
    _entry(
        "popularity",
        "Popularity",
        "what most users had; the row to print beside every other",
        "folklore",
        by_gradient=False,
    ),
    _entry(
        "itemknn",
        "ItemKnn",
        "what is often had together with what the user had",
        "Sarwar et al., WWW 2001",
        by_gradient=False,
    ),
    _entry(
        "ease",
        "Ease",
        "linear weights between items, in closed form; hard to beat without a graph",
        "Steck, WWW 2019",
        by_gradient=False,
    ),
    _entry(
        "bpr",
        "Bpr",
        "matrix factorisation, pairwise ranking; interactions only",
        "Rendle et al., UAI 2009",
    ),
    _entry(
        "attributemap",
        "AttributeMap",
        "factors of items mapped from graph and text, in closed form; strong on cold items",
        "Gantner et al., ICDM 2010",
        "graph",
        by_gradient=False,
    ),
    _entry(
        "lightgcn",
        "LightGcn",
        "vectors smoothed over the interactions; no knowledge graph",
        "He et al., SIGIR 2020",
    ),
    _entry(
        "cke",
        "Cke",
        "matrix factorisation beside a factorisation of the graph; the simplest use of a graph",
        "Zhang et al., KDD 2016",
        "graph",
    ),
    _entry(
        "kgat",
        "Kgat",
        "attention over interactions and knowledge graph; reaches items that nobody had",
        "Wang et al., KDD 2019",
        "graph",
    ),
    _entry(
        "ripplenet",
        "RippleNet",
        "a candidate attends to the triples that spread from the user's items",
        "Wang et al., CIKM 2018",
        "graph",
    ),
    _entry(
        "akupm",
        "Akupm",
        "self-attention within the sets of entities that a user's items lead to",
        "Tang et al., KDD 2019",
        "graph",
    ),
    _entry(
        "kgcn",
        "Kgcn",
        "convolution over an item's neighbours, weighed by what relations the user likes",
        "Wang et al., WWW 2019",
        "graph",
    ),
    _entry(
        "intentgc",
        "IntentGc",
        "convolution among items, and among users, that share entities; cosine score",
        "Zhao et al., KDD 2019",
        "graph",
    ),
    _entry(
        "kgin",
        "Kgin",
        "users' intents as mixtures of relations, and paths that keep their relations",
        "Huang et al., WWW 2021",
        "graph",
    ),
    _entry(
        "kgcl",
        "Kgcl",
        "LightGCN on items with knowledge; contrast tells which interactions to trust",
        "Yang et al., SIGIR 2022",
        "graph",
    ),
    _entry(
        "dkn",
        "Dkn",
        "reads item texts, with the entities that they name; attention over what a user had",
        "Wang et al., WWW 2018",
        "graph",
        "item_texts",
    ),
    _entry(
        "hetemf",
        "HeteMf",
        "matrix factorisation that gives items alike in the graph like vectors",
        "Yu et al., HINA at IJCAI 2013",
        "ratings",
        "graph",
    ),
    _entry(
        "ksr",
        "Ksr",
        "GRU over the history with a memory of what its items have under each relation",
        "Huang et al., SIGIR 2018",
        "graph",
        "times",
    ),
    _entry(
        "semrec",
        "SemRec",
        "ratings of users who rated alike, along weighted meta-paths",
        "Shi et al., CIKM 2015",
        "ratings",
        by_gradient=False,
        uses_graph=True,
    ),
    _entry(
        "kar",
        "Kar",
        "click model with what a language model knows of users and items as two more fields",
        "Xi et al., RecSys 2024",
        "item_vectors",
        "user_vectors",
    ),
    _entry(
        "rulerec",
        "RuleRec",
        "learns which sequences of relations lead from had to wanted, and can tell them",
        "Ma et al., WWW 2019",
        "graph",
    ),
    _entry(
        "shine",
        "Shine",
        "auto-encoders of signed, social and profile links; predicts likes and dislikes",
        "Wang et al., WSDM 2018",
        "ratings",
        uses_graph=True,
    ),
    _entry(
        "eium",
        "Eium",
        "attention over the paths that lead from a history, in its order, to each candidate",
        "Huang et al., ACM Multimedia 2019",
        "graph",
        "times",
    ),
)
MODELS: Mapping[str, ModelEntry] = {entry.name: entry for entry in _ENTRIES}


def find_model(name: str) -> ModelEntry:
    """The entry of a name. Raises :class:`~kg.errors.UsageError` for a name that is none."""
    if name in MODELS:
        return MODELS[name]
    close = get_close_matches(name, list(MODELS), n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Choose one of {', '.join(MODELS)}."
    raise UsageError(f"there is no model {name!r}.", hint=hint)


def _in_words(hint: Any) -> str:
    """What a value must be, for people."""
    if get_origin(hint) is LiteralType:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        return f"a list of {_SEVERAL[get_args(hint)[0]]}"
    return _ONE[hint]


_ONE = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
_SEVERAL = {int: "integers", float: "numbers", bool: "true or false", str: "texts"}


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is LiteralType:
        return value in get_args(hint)
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple) and all(_fits(part, get_args(hint)[0]) for part in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)

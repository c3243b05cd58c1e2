"""Joint graphs to and from PyTorch Geometric, for its loaders, layers and explainers.

The node types are ``user``, ``item`` and ``entity`` (entities that are no item). An edge type is named by the
relation; inverses are called ``rev_<name>``, as PyG's own transform calls them. Needs ``torch-geometric``.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from kg.errors import UsageError
from recommender.data.interactions import Ints
from recommender.graph.joint import JointGraph

NODE_TYPES = ("user", "item", "entity")
INTERACTED = "interacted_with"


def edge_index(graph: JointGraph) -> Any:
    """All edges as one ``EdgeIndex`` of heads and tails, sorted by head, with its CSR pointers filled in."""
    data = _torch_geometric("torch_geometric")
    rows = torch.from_numpy(np.stack([graph.head, graph.tail]))
    made = data.EdgeIndex(rows, sparse_size=(graph.n_nodes, graph.n_nodes), sort_order="row")
    return made.fill_cache_()


def to_hetero_data(graph: JointGraph, relation_names: Sequence[str]) -> Any:
    """The graph as ``HeteroData``; ``relation_names`` are the snapshot's, in its order.

    A node has ``num_nodes`` and, for items and entities, ``entity``: its dense id in the snapshot, -1 for an
    item without one. An edge has ``edge_index`` and ``triple``: the row of the snapshot it comes from, -1 for
    an interaction. The data keeps the names as ``relation_names`` and the graph's ``n_within``.
    """
    names = _all_names(graph.n_relations, relation_names)
    data = _torch_geometric("torch_geometric.data").HeteroData()
    starts = _starts(graph)
    for kind, (first, end) in zip(NODE_TYPES, pairwise(starts), strict=True):
        data[kind].num_nodes = end - first
    items, entities = np.split(graph.entity, [graph.n_items])
    data["item"].entity, data["entity"].entity = torch.from_numpy(items), torch.from_numpy(entities)
    kinds = np.searchsorted(starts[1:], np.stack([graph.head, graph.tail]), side="right")
    ends = np.stack([graph.head, graph.tail]) - starts[kinds]
    group = (kinds[0] * 3 + kinds[1]) * graph.n_all_relations + graph.relation
    order = np.argsort(group, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1) if len(order) else []:
        head, tail = (NODE_TYPES[kind] for kind in kinds[:, rows[0]])
        store = data[head, names[graph.relation[rows[0]]], tail]
        store.edge_index = torch.from_numpy(ends[:, rows])
        store.triple = torch.from_numpy(graph.triple[rows].astype(np.int64))
    data.relation_names, data.n_within = list(relation_names), list(graph.n_within)
    return data


def from_hetero_data(data: Any) -> JointGraph:
    """The joint graph of a ``HeteroData`` that :func:`to_hetero_data` made.

    Raises :class:`~kg.errors.UsageError` for one that has other nodes or edges.
    """
    if set(data.node_types) != set(NODE_TYPES) or "relation_names" not in data:
        raise UsageError(
            f"this is no joint graph: its node types are {', '.join(data.node_types) or 'none'}.",
            hint="Give what to_hetero_data made.",
        )
    n_users, n_items, n_others = (int(data[kind].num_nodes) for kind in NODE_TYPES)
    names = {
        name: number for number, name in enumerate(_all_names(len(data.relation_names), data.relation_names))
    }
    first = dict(zip(NODE_TYPES, (0, n_users, n_users + n_items), strict=True))
    heads, tails, relations, triples = ([np.zeros(0, dtype=np.int64)] for _ in range(4))
    for head, name, tail in data.edge_types:
        if name not in names:
            raise UsageError(f"there is no relation {name!r} here.", hint=f"Known: {', '.join(names)}.")
        store = data[head, name, tail]
        one, other = store.edge_index.cpu().numpy()
        heads.append(one + first[head])
        tails.append(other + first[tail])
        relations.append(np.full(len(one), names[name]))
        triples.append(store.triple.cpu().numpy())
    head, tail, relation, triple = map(np.concatenate, (heads, tails, relations, triples))
    n_nodes = n_users + n_items + n_others
    order = np.lexsort((triple, tail, relation, head))
    return JointGraph(
        n_users,
        n_items,
        n_items + n_others,
        len(data.relation_names),
        np.concatenate([[0], np.cumsum(np.bincount(head, minlength=n_nodes))]).astype(np.int64),
        tail[order].astype(np.int32),
        relation[order].astype(np.int32),
        triple[order].astype(np.int32),
        torch.cat([data["item"].entity, data["entity"].entity]).cpu().numpy(),
        tuple(data.n_within),
    )


def _starts(graph: JointGraph) -> Ints:
    """The first node of each type, and the end."""
    return np.cumsum([0, graph.n_users, graph.n_items, graph.n_entities - graph.n_items])


def _all_names(n_relations: int, given: Sequence[str]) -> list[str]:
    """A name for each relation of a joint graph."""
    if len(given) != n_relations:
        raise UsageError(
            f"the graph has {n_relations} relations, not {len(given)}.", hint="Give the snapshot's names."
        )
    names = [*given, *(f"rev_{name}" for name in given), INTERACTED, f"rev_{INTERACTED}"]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"two relations would be called {twice!r}.", hint="Rename one of them.")
    return names


def _torch_geometric(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise UsageError(
            "torch-geometric is not installed.", hint="Install it: pip install torch-geometric."
        ) from None

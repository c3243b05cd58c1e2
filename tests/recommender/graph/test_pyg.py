"""PyTorch Geometric as a reference, and joint graphs to and from it."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional

from kg.errors import UsageError
from recommender.graph import pyg
from recommender.graph.joint import JointGraph
from recommender.graph.segment import segment_max, segment_mean, segment_softmax, segment_sum
from recommender.models.base import TrainingData
from recommender.models.kgat import Config, Kgat
from tests.worlds import World, planted_world

pytest.importorskip("torch_geometric")


def world_and_graph() -> tuple[World, JointGraph]:
    world = planted_world(0, "PG-2")
    links = {item: entity for item, entity in world.links.items() if item != "i007"}
    return world, JointGraph.build(world.split, world.graph, links)


def test_segments_agree_with_torch_geometric() -> None:
    """On a skewed graph with hubs and with nodes without edges."""
    from torch_geometric.utils import scatter, softmax

    rng = np.random.default_rng(0)
    head = np.sort((60 * rng.random(2000) ** 3).astype(np.int64))
    sizes = np.bincount(head, minlength=64)
    assert sizes.max() > 300
    assert (sizes == 0).sum() > 3
    index, indptr = torch.from_numpy(head), torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]))
    generator = torch.Generator().manual_seed(0)
    flat, wide = (
        torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((2000,), (2000, 5))
    )
    assert torch.allclose(segment_softmax(flat, indptr), softmax(flat, index), atol=1e-12)
    for ours, name in ((segment_sum, "sum"), (segment_mean, "mean"), (segment_max, "max")):
        expected = scatter(wide, index, dim=0, dim_size=64, reduce=name)
        assert torch.allclose(ours(wide, indptr), expected, atol=1e-12)


def test_one_layer_of_kgat_agrees_with_torch_geometric() -> None:
    from torch_geometric.utils import scatter, softmax

    world, graph = world_and_graph()
    config = Config(dim=6, relation_dim=5, layers=(4,), message_dropout=0.0)
    model = Kgat(TrainingData(world.split.train, graph), config, torch.Generator().manual_seed(0)).double()
    model.refresh()
    head, tail, relation = (torch.from_numpy(part) for part in (graph.head, graph.tail, graph.relation))
    projection = model.projections[relation]
    near = torch.einsum("ed,edk->ek", model.nodes[tail], projection)
    moved = torch.einsum("ed,edk->ek", model.nodes[head], projection) + model.relations[relation]
    attention = softmax((near * torch.tanh(moved)).sum(dim=1), head, num_nodes=graph.n_nodes)
    assert np.allclose(model.edge_weights(), attention.detach().numpy(), atol=1e-10)
    messages = scatter(
        attention[:, None] * model.nodes[tail], head, dim=0, dim_size=graph.n_nodes, reduce="sum"
    )
    layer = functional.leaky_relu(
        (model.nodes + messages) @ model.sum_weights[0] + model.sum_biases[0]
    ) + functional.leaky_relu((model.nodes * messages) @ model.product_weights[0] + model.product_biases[0])
    expected = torch.cat([model.nodes, functional.normalize(layer)], dim=1)[: model.n_core]
    assert torch.allclose(torch.cat(model.embed()), expected, atol=1e-10)


def test_hetero_data_and_back() -> None:
    world, graph = world_and_graph()
    data = pyg.to_hetero_data(graph, world.graph.relation_names)
    assert data.validate()
    assert data["user"].num_nodes == graph.n_users
    assert data.num_edges == graph.n_edges
    assert ("item", "BY", "entity") in data.edge_types
    assert ("entity", "rev_BY", "item") in data.edge_types
    assert data["user", pyg.INTERACTED, "item"].num_edges == len(world.split.train)
    again = pyg.from_hetero_data(data)
    for field in dataclasses.fields(graph):
        assert np.array_equal(getattr(again, field.name), getattr(graph, field.name)), field.name


def test_edge_index_is_sorted_and_multiplies_as_the_graph_does() -> None:
    _, graph = world_and_graph()
    edges = pyg.edge_index(graph)
    edges.validate()
    assert edges.sparse_size() == (graph.n_nodes, graph.n_nodes)
    assert np.array_equal(edges.get_csr()[0][0].numpy(), graph.indptr)
    x = torch.randn(graph.n_nodes, 3, generator=torch.Generator().manual_seed(0))
    expected = segment_sum(x[torch.from_numpy(graph.tail)], torch.from_numpy(graph.indptr))
    assert torch.allclose(edges.matmul(x), expected, atol=1e-5)


def test_what_is_no_joint_graph_is_refused() -> None:
    from torch_geometric.data import HeteroData

    world, graph = world_and_graph()
    with pytest.raises(UsageError, match="3 relations, not 1"):
        pyg.to_hetero_data(graph, ["BY"])
    with pytest.raises(UsageError, match="would be called 'rev_BY'"):
        pyg.to_hetero_data(graph, ["BY", "rev_BY", "OF"])
    with pytest.raises(UsageError, match="no joint graph"):
        pyg.from_hetero_data(HeteroData())
    data = pyg.to_hetero_data(graph, world.graph.relation_names)
    data["user", "LIKES", "item"].edge_index = torch.zeros(2, 1, dtype=torch.int64)
    with pytest.raises(UsageError, match="no relation 'LIKES'"):
        pyg.from_hetero_data(data)


def test_without_torch_geometric_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_geometric.data", None)
    world, graph = world_and_graph()
    with pytest.raises(UsageError, match="torch-geometric is not installed"):
        pyg.to_hetero_data(graph, world.graph.relation_names)

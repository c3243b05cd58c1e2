"""DKN (Wang et al., WWW 2018): texts read by a convolution over words and the entities they name.

Word i of a text has the row ``[w_i, g(e_i), g(c_i)]``: the word's vector, the vector of the entity that it
names and the mean over that entity's neighbours, with ``g(x) = tanh(x M + b)``; where no entity is named,
the last two are zero. Filters of several widths over these rows, ReLU and the maximum over positions give
the item's vector v. For a user with items k and a candidate j: ``a = softmax_k(v_k · v_j)``,
``u_j = sum_k a_k v_k``; the score is ``u_j · v_j``, trained by binary cross entropy with one drawn negative
per positive.

Attention and score are dot products, as in the authors' code; in the paper they are small networks. Since
``u_j · v_j = sum_k a_k (v_k · v_j)``, products between items are all that a ranking needs. The candidate
itself is left out of the user's items: a positive would otherwise be known by itself.

Entity vectors are TransE's, learnt from the graph first and then held: only ``g`` is trained, so that
entities of texts that nobody read move with the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Floats, Ints
from recommender.data.sampling import PairSampler, batches
from recommender.data.sequences import histories
from recommender.graph.joint import JointGraph
from recommender.graph.mentions import Mentions, words_of
from recommender.models.base import TrainingData
from recommender.models.gradient import GradientRecommender, evaluating, xavier
from recommender.models.translation import train_transe

_TEXTS_PER_CHUNK = 2048
_CELLS_PER_CHUNK = 1 << 23


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults of the authors' code (github.com/hwwang55/DKN), except where said."""

    word_dim: int = 50
    entity_dim: int = 50
    filters: int = 128
    """Of each width."""
    widths: tuple[int, ...] = (1, 2)
    words: int = 10
    """The length of a text; what stands behind is not read."""
    history: int = 30
    """The last items of a user; theirs draws as many with replacement."""
    context: bool = True
    """The mean over neighbours as a third channel: on as in the paper, off by default in the code."""
    translation_epochs: int = 100
    """TransE's, as :func:`~recommender.models.translation.train_transe` has it."""
    learning_rate: float = 1e-3
    penalty: float = 1e-3
    """On half the squared filters and transformation. Theirs is .01, from which nothing is learnt here: AUC
    on the planted texts is .54 in place of .999."""
    batch_size: int = 128
    epochs: int = 50
    """Our choice: validation stops earlier."""
    warm_only: bool = True
    """Ours: cold items drawn as negatives learn to be bad."""


class Dkn(GradientRecommender):
    """Word vectors, the transformation of entity vectors, and filters."""

    config: Config
    pairs_per_chunk = 1 << 12

    def __init__(self, data: TrainingData, config: Config, generator: torch.Generator) -> None:
        super().__init__(data, config, generator)
        if data.graph is None or data.side.item_texts is None:
            raise UsageError("dkn needs a knowledge graph and item texts.", hint="Give both, or train kgat.")
        texts = _Texts.of(data.side.item_texts, data.side.item_mentions, data.graph, config)
        history, mask = histories(data.train, config.history)
        device = generator.device
        self._words, self._entities, self._history, self._mask = (
            torch.from_numpy(array).to(device)
            for array in (texts.words, texts.entities, np.maximum(history, 0), mask)
        )
        self.words = xavier(generator, texts.n_words + 1, config.word_dim)
        with torch.no_grad():
            self.words[0] = 0
        table = _entity_table(data.graph, texts.nodes, config, generator)
        self.entities: Tensor
        self.register_buffer("entities", torch.from_numpy(table).to(device))
        self.transform = xavier(generator, config.entity_dim, config.word_dim)
        self.transform_bias = nn.Parameter(torch.zeros(config.word_dim, device=device))
        n_channels = 2 if config.context else 1
        self.word_filters, self.entity_filters = (
            nn.ParameterList(
                xavier(generator, config.filters, n * config.word_dim * width) for width in config.widths
            )
            for n in (1, n_channels)
        )
        self.biases = nn.ParameterList(
            nn.Parameter(torch.zeros(config.filters, device=device)) for _ in config.widths
        )
        self._sampler = PairSampler(data.train, sample_by="interaction", warm_only=config.warm_only)

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        user, item, label = self._sampler.labelled_epoch(rng)
        for rows in batches(len(user), self.config.batch_size):
            target = torch.from_numpy(label[rows]).to(self.device)
            logits = self.logits(self.ids(user[rows]), self.ids(item[rows]))
            loss = functional.binary_cross_entropy_with_logits(logits, target)
            yield "ranking", loss + self.config.penalty * self._squares()

    def logits(self, users: Tensor, items: Tensor) -> Tensor:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        history = self._history[users]
        needed, place = torch.unique(torch.cat([items, history.flatten()]), return_inverse=True)
        vectors = self.read(needed)
        candidate = functional.embedding(place[: len(items)], vectors)
        had = functional.embedding(place[len(items) :].view(history.shape), vectors)
        affinity = torch.einsum("bkf,bf->bk", had, candidate)
        return attended(affinity, self._mask[users] & (history != items[:, None]), dim=1)

    def read(self, items: Tensor) -> Tensor:
        """The vectors of items from their texts: [n] dense ids -> [n, filters * len(widths)]."""
        words = functional.embedding(self._words[items], self.words, padding_idx=0).transpose(1, 2)
        entities = self.transformed(self._entities[items]).transpose(1, 2)
        found = []
        for number, width in enumerate(self.config.widths):
            by_word = self.word_filters[number].view(self.config.filters, -1, width)
            by_entity = self.entity_filters[number].view(self.config.filters, -1, width)
            heard = functional.conv1d(words, by_word, self.biases[number])
            heard = heard + functional.conv1d(entities, by_entity)
            found.append(functional.relu(heard).amax(dim=2))
        return torch.cat(found, dim=1)

    def transformed(self, rows: Tensor) -> Tensor:
        """The transformed entity and context vectors of rows of the table; row 0 stays zero.

        *Shape:* [...] -> [..., word_dim], or [..., 2 * word_dim] with contexts.
        """
        needed, place = torch.unique(rows, return_inverse=True)
        vectors = torch.tanh(self.entities[needed] @ self.transform + self.transform_bias)
        return functional.embedding(place, vectors.flatten(1) * (needed > 0)[:, None])

    def score_pairs(self, users: Ints, items: Ints) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score_pairs`."""
        scores = np.zeros(len(users), np.float32)
        with evaluating(self):
            vectors, place = self._read_for(users, items)
            for rows in batches(len(users), self.pairs_per_chunk):
                user, item = self.ids(users[rows]), self.ids(items[rows])
                history = self._history[user]
                affinity = torch.einsum("bkf,bf->bk", vectors[place[history]], vectors[place[item]])
                mask = self._mask[user] & (history != item[:, None])
                scores[rows] = attended(affinity, mask, dim=1).cpu().numpy()
        return scores

    def score(self, users: Ints, items: Ints | None = None) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score`; a few users at a time."""
        wanted = np.arange(self.n_items) if items is None else items
        scores = np.zeros((len(users), len(wanted)), np.float32)
        n_users = max(1, _CELLS_PER_CHUNK // max(1, len(wanted) * self.config.history))
        with evaluating(self):
            vectors, place = self._read_for(users, wanted)
            candidates = self.ids(wanted)
            candidate_rows = vectors[place[candidates]].T.contiguous()
            for rows in batches(len(users), n_users):
                user = self.ids(users[rows])
                history = self._history[user]
                needed, position = torch.unique(history, return_inverse=True)
                affinity = (vectors[place[needed]] @ candidate_rows)[position]
                mask = self._mask[user][:, :, None] & (history[:, :, None] != candidates)
                scores[rows] = attended(affinity, mask, dim=1).cpu().numpy()
        return scores

    def _read_for(self, users: Ints, items: Ints) -> tuple[Tensor, Tensor]:
        """Vectors of all items that these scores need, and where each item's is: [n_items]."""
        device = self.device
        history = self._history[self.ids(np.unique(users))].flatten()
        needed = torch.unique(torch.cat([self.ids(np.unique(items)), history]))
        parts = [self.read(needed[rows]) for rows in batches(len(needed), _TEXTS_PER_CHUNK)]
        place = torch.zeros(self.n_items, dtype=torch.long, device=device)
        place[needed] = torch.arange(len(needed), device=device)
        return torch.cat(parts) if parts else torch.zeros(0, 0, device=device), place

    def _squares(self) -> Tensor:
        weights = [self.transform, *self.word_filters, *self.entity_filters]
        return torch.stack([weight.square().sum() for weight in weights]).sum() / 2


def attended(affinity: Tensor, mask: Tensor, dim: int) -> Tensor:
    """``sum_k softmax_k(affinity) affinity`` over what the mask allows; 0 where it allows nothing."""
    lowest = torch.finfo(affinity.dtype).min
    weights = torch.softmax(affinity.masked_fill(~mask, lowest), dim=dim)
    return (weights * affinity * mask).sum(dim=dim)


@dataclass(frozen=True, slots=True, eq=False)
class _Texts:
    """The texts as rows of word and entity numbers, 0 where there is none.

    *Shape:* ``words`` and ``entities`` [n_items, n_positions]; ``nodes`` [n_named], the node behind entity
    number n + 1.
    """

    words: Ints
    n_words: int
    entities: Ints
    nodes: Ints

    @classmethod
    def of(cls, texts: Sequence[str], mentions: Mentions | None, graph: JointGraph, config: Config) -> _Texts:
        """Number words and named nodes.

        Without ``mentions`` every word of a text counts as naming the item's own entity.
        """
        n_positions = max(config.words, *config.widths)
        cut = [words_of(text)[: config.words] for text in texts]
        number = {word: n + 1 for n, word in enumerate(sorted({word for words in cut for word in words}))}
        words = np.zeros((len(cut), n_positions), np.int64)
        for item, row in enumerate(cut):
            words[item, : len(row)] = [number[word] for word in row]
        node = np.full(words.shape, -1, np.int64)
        if mentions is None:
            n_named = np.maximum(1, (words > 0).sum(axis=1)) * (graph.entity[: len(cut)] >= 0)
            own = graph.n_users + np.arange(len(cut))
            node = np.where(np.arange(n_positions) < n_named[:, None], own[:, None], node)
        else:
            named = np.repeat(mentions.item, mentions.n_words)
            before = np.repeat(np.cumsum(mentions.n_words) - mentions.n_words, mentions.n_words)
            place = np.repeat(mentions.start, mentions.n_words) + np.arange(len(named)) - before
            read = place < config.words
            node[named[read], place[read]] = np.repeat(mentions.node, mentions.n_words)[read]
        nodes, entity = np.unique(node, return_inverse=True)
        n_unnamed = int((nodes < 0).sum())
        entities = entity.reshape(node.shape).astype(np.int64) + 1 - n_unnamed
        return cls(words, len(number), entities, nodes[n_unnamed:])


def _entity_table(graph: JointGraph, nodes: Ints, config: Config, generator: torch.Generator) -> Floats:
    """TransE vectors of ``nodes``, and of their contexts: [1 + n_nodes, 1 or 2, entity_dim], row 0 zero."""
    triples = graph.knowledge(inverse=False).triples
    seed = int(torch.randint(2**31, (1,), generator=generator, device=generator.device))
    vectors = train_transe(
        triples,
        graph.n_entities,
        max(1, graph.n_relations),
        np.random.default_rng(seed),
        generator,
        dim=config.entity_dim,
        epochs=config.translation_epochs,
    ).entities
    table = np.zeros((1 + len(nodes), 1 + config.context, config.entity_dim), np.float32)
    table[1:, 0] = vectors[nodes - graph.n_users]
    if config.context:
        table[1:, 1] = _contexts(graph, vectors)[nodes - graph.n_users]
    return table


def _contexts(graph: JointGraph, vectors: Floats) -> Floats:
    """The mean of the vectors of each entity's neighbours, zero where it has none: [n_entities, dim]."""
    known = graph.knowledge(inverse=True)
    share = (1 / np.maximum(1, np.diff(known.indptr)))[known.head].astype(np.float32)
    means: Floats = sparse.csr_matrix((share, known.tail, known.indptr), shape=(len(vectors),) * 2) @ vectors
    return means

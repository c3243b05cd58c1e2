"""KAR (Xi et al., RecSys 2024): what a language model knows of users and items, for a click model.

A language model writes what decides each user's preferences and what is known of each item
(:mod:`recommender.knowledge_text`); a frozen encoder turns both into vectors. The *hybrid-expert adaptor*
brings each to the width of the click model's fields: ``n_s`` experts shared by both kinds and ``n_p`` of its
own, each a network with ReLU after every layer, mixed by a gate, ``sum_e softmax(x G + b)_e expert_e(x)``.
The two results are two more fields of a backbone from :mod:`recommender.models.ctr`, beside the user, the
candidate and the user's last items before it.

Loss: binary cross entropy, one drawn negative per positive; both have the history of the positive. Pairs that
a user's text tells of (``SideData.user_vectors_from``) are not trained on, and where times are known they
must all be earlier than those that are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from kg.errors import UsageError
from recommender.data.interactions import Floats, Interactions, Ints
from recommender.data.sampling import PairSampler, batches, contains
from recommender.data.sequences import in_time
from recommender.models.base import TrainingData
from recommender.models.ctr import Backbone, BackboneName, DcnV2, DeepFm, Din
from recommender.models.gradient import GradientRecommender, evaluating, xavier

_ROWS_PER_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Config:
    """Defaults of the authors' code, except where said."""

    backbone: BackboneName = "din"
    augment: bool = True
    """False leaves the vectors of the texts out: the bare backbone."""
    adaptor: Literal["hea", "moe", "mlp"] = "hea"
    """moe: experts of its own only; mlp: one of its own."""
    shared_experts: int = 2
    specific_experts: int = 5
    expert_hidden: tuple[int, ...] = (128,)
    """Inner layers; the last one has the width of a field."""
    dim: int = 32
    hidden: tuple[int, ...] = (200, 80)
    attention_hidden: tuple[int, ...] = (32, 16)
    cross_layers: int = 3
    history: int = 10
    learning_rate: float = 1e-3
    """The upper end of their sweep; constant, where theirs decays."""
    batch_size: int = 1024
    """Within their sweep, 128 to 2048."""
    epochs: int = 20
    warm_only: bool = True
    """Ours, as their negatives are low ratings: cold items drawn as negatives learn to be bad."""


class Kar(GradientRecommender):
    """Vectors of users and items, the adaptor, and a backbone."""

    config: Config
    pairs_per_chunk = 1 << 13

    def __init__(self, data: TrainingData, config: Config, generator: torch.Generator) -> None:
        super().__init__(data, config, generator)
        dim, device = config.dim, generator.device
        self.users = xavier(generator, self.n_users, dim)
        self.items = xavier(generator, self.n_items, dim)
        self.backbone = _backbone(config, generator)
        self.adaptor: Adaptor | None = None
        if config.augment:
            user_vectors, item_vectors = data.side.user_vectors, data.side.item_vectors
            if user_vectors is None or item_vectors is None:
                raise UsageError(
                    "kar needs encoded texts of users and items.",
                    hint="Give user_vectors and item_vectors, or set augment to false.",
                )
            self._texts = [
                torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)).to(device)
                for vectors in (user_vectors, item_vectors)
            ]
            self.adaptor = _adaptor(config, user_vectors.shape[1], item_vectors.shape[1], generator)
        self._samples = _Samples(data, config)

    def losses(self, rng: np.random.Generator) -> Iterator[tuple[str, Tensor]]:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        user, positive, negative = self._samples.epoch(rng)
        for rows in batches(len(user), max(1, self.config.batch_size // 2)):
            yield "ranking", self.loss(user[rows], positive[rows], negative[rows])

    def loss(self, user: Ints, positive: Ints, negative: Ints) -> Tensor:
        """The loss of positives and negatives, both with the history of the positive: [batch] each -> []."""
        history, mask = self._samples.before(user, positive)
        logits = self._logits(
            self._with_text(0, self.ids(np.tile(user, 2))),
            self._with_text(1, self.ids(np.concatenate([positive, negative]))),
            self.ids(np.tile(history, (2, 1))),
            self._flags(np.tile(mask, (2, 1))),
        )
        labels = torch.zeros_like(logits)
        labels[: len(user)] = 1
        return functional.binary_cross_entropy_with_logits(logits, labels)

    def logits(self, users: Tensor, items: Tensor) -> Tensor:
        """See :class:`~recommender.models.gradient.GradientRecommender`."""
        history, mask = self._samples.last(users.cpu().numpy(), items.cpu().numpy())
        return self._logits(
            self._with_text(0, users), self._with_text(1, items), self.ids(history), self._flags(mask)
        )

    def score_pairs(self, users: Ints, items: Ints) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score_pairs`."""
        scores = np.zeros(len(users), np.float32)
        needed_users, user = np.unique(users, return_inverse=True)
        needed_items, item = np.unique(items, return_inverse=True)
        with evaluating(self):
            user_rows, item_rows = self._table(0, needed_users), self._table(1, needed_items)
            for rows in batches(len(users), self.pairs_per_chunk):
                history, mask = self._samples.last(users[rows], items[rows])
                chosen = user_rows[self.ids(user[rows])], item_rows[self.ids(item[rows])]
                logits = self._logits(*chosen, self.ids(history), self._flags(mask))
                scores[rows] = logits.cpu().numpy()
        return scores

    def score(self, users: Ints, items: Ints | None = None) -> Floats:
        """See :meth:`recommender.models.base.Recommender.score`; a few users, and items, at a time."""
        wanted = np.arange(self.n_items) if items is None else items
        scores = np.zeros((len(users), len(wanted)), np.float32)
        n_users = max(1, self.pairs_per_chunk // max(1, len(wanted)))
        with evaluating(self):
            user_rows, item_rows = self._table(0, users), self._table(1, wanted)
            for rows in batches(len(users), n_users):
                for columns in batches(len(wanted), self.pairs_per_chunk):
                    part, candidates = users[rows], wanted[columns]
                    n, m = len(part), len(candidates)
                    history, mask = self._samples.last(np.repeat(part, m), np.tile(candidates, n))
                    logits = self._logits(
                        user_rows[rows].repeat_interleave(m, dim=0),
                        item_rows[columns].repeat(n, 1, 1),
                        self.ids(history),
                        self._flags(mask),
                    )
                    scores[rows, columns] = logits.view(n, m).cpu().numpy()
        return scores

    def _logits(self, user: Tensor, item: Tensor, history: Tensor, mask: Tensor) -> Tensor:
        """Score rows of :meth:`_with_text`: [batch, 1 or 2, dim] twice, [batch, length] twice -> [batch]."""
        own = torch.stack([user[:, 0], item[:, 0]], dim=1)
        extra = torch.cat([user[:, 1:], item[:, 1:]], dim=1)
        had = functional.embedding(history, self.items)
        logits: Tensor = self.backbone(own, item[:, 0], had, mask, extra)
        return logits

    def _with_text(self, side: Literal[0, 1], ids: Tensor) -> Tensor:
        """Users' (0) or items' (1) own vectors, with those of their texts: [n] -> [n, 1 or 2, dim]."""
        own = functional.embedding(ids, (self.users, self.items)[side])
        if self.adaptor is None:
            return own[:, None]
        needed, place = torch.unique(ids, return_inverse=True)
        text = functional.embedding(place, self.adaptor(side, self._texts[side][needed]))
        return torch.stack([own, text], dim=1)

    def _flags(self, mask: NDArray[np.bool_]) -> Tensor:
        return torch.from_numpy(mask).to(self.device, non_blocking=True)

    def _table(self, side: Literal[0, 1], ids: Ints) -> Tensor:
        pieces = batches(len(ids), _ROWS_PER_CHUNK) or [slice(0, 0)]
        return torch.cat([self._with_text(side, self.ids(ids[rows])) for rows in pieces])


class Adaptor(nn.Module):
    """The hybrid experts over two kinds of vectors.

    Raises :class:`~kg.errors.UsageError` where experts are shared and the vectors differ in length.
    """

    def __init__(
        self,
        widths: tuple[int, int],
        n_shared: int,
        n_specific: int,
        layers: tuple[int, ...],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if n_shared and widths[0] != widths[1]:
            raise UsageError(
                f"users' vectors have {widths[0]} dimensions and items' {widths[1]}: no expert fits both.",
                hint="Encode both with one encoder, or set adaptor to moe or mlp.",
            )
        n = n_shared + n_specific
        self.shared = Experts(n_shared, (widths[0], *layers), generator) if n_shared else None
        self.specific = nn.ModuleList(Experts(n_specific, (w, *layers), generator) for w in widths)
        self.gates = nn.ParameterList(xavier(generator, width, n) for width in widths)
        zeros = torch.zeros(n, device=generator.device)
        self.gate_biases = nn.ParameterList(nn.Parameter(zeros.clone()) for _ in widths)

    def forward(self, side: int, rows: Tensor) -> Tensor:
        """Adapt vectors of one side: [n, width] -> [n, layers[-1]]."""
        experts: Tensor = self.specific[side](rows)
        if self.shared is not None:
            experts = torch.cat([self.shared(rows), experts], dim=1)
        return torch.einsum("ne,neo->no", self.gate(side, rows), experts)

    def gate(self, side: int, rows: Tensor) -> Tensor:
        """What each expert weighs, the shared ones first: [n, n_experts]; a row sums to 1."""
        return torch.softmax(torch.addmm(self.gate_biases[side], rows, self.gates[side]), dim=1)


class Experts(nn.Module):
    """Several networks of one form, ReLU after every layer."""

    def __init__(self, n_experts: int, widths: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        self.n_experts = n_experts
        self.weights = nn.ParameterList(
            xavier(generator, n_experts, below, above) for below, above in pairwise(widths)
        )
        self.biases = nn.ParameterList(
            nn.Parameter(torch.zeros(n_experts, 1, above, device=generator.device)) for above in widths[1:]
        )

    def forward(self, rows: Tensor) -> Tensor:
        """[n, widths[0]] -> [n, n_experts, widths[-1]]."""
        layer = rows.expand(self.n_experts, *rows.shape)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            layer = functional.relu(torch.baddbmm(bias, layer, weight))
        return layer.transpose(0, 1)


class _Samples:
    """Which pairs are learnt from, and what a user had before."""

    def __init__(self, data: TrainingData, config: Config) -> None:
        train = data.train
        self._sampler = PairSampler(train, sample_by="interaction", warm_only=config.warm_only)
        self._length, self._n_items = config.history, train.n_items
        self._keys, self._indptr, self._ordered = train.keys, train.by_user()[0], in_time(train)
        self._ends = _ends(train)
        told = data.side.user_vectors_from if config.augment else None
        self._told = np.zeros(0, np.int64) if told is None else told.keys
        if told is not None:
            check_told_first(train, told)

    def epoch(self, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
        """User, positive and negative of one epoch, without the positives that the texts tell of."""
        user, positive, negative = self._sampler.epoch(rng)
        kept = ~contains(self._told, user * self._n_items + positive)
        return user[kept], positive[kept], negative[kept]

    def before(self, users: Ints, items: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """The last items before a training pair's time, without its item; see :meth:`last`."""
        pair = np.searchsorted(self._keys, users * self._n_items + items)
        return self._window(self._ends[pair], users, items)

    def last(self, users: Ints, items: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """The last items of users without ``items``, and where there is one: [n, history + 1] both."""
        return self._window(self._indptr[users + 1], users, items)

    def _window(self, ends: Ints, users: Ints, items: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        places = ends[:, None] + np.arange(-self._length - 1, 0)
        history = self._ordered[np.maximum(places, 0)]
        mask = (places >= self._indptr[users][:, None]) & (history != items[:, None])
        mask[:, 0] &= mask.sum(axis=1) <= self._length
        return history, mask


def _ends(train: Interactions) -> Ints:
    """Where the items that a user had earlier than each pair end, in the order of time: [n_interactions].

    Without times that is the user's end: all other items count as earlier.
    """
    indptr, _ = train.by_user()
    if train.time is None:
        return indptr[train.user + 1]
    order = np.lexsort((train.item, train.time, train.user))
    user, time = train.user[order], train.time[order]
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = (user[1:] != user[:-1]) | (time[1:] != time[:-1])
    ends = np.empty(len(order), np.int64)
    ends[order] = np.maximum.accumulate(np.where(starts, np.arange(len(order)), 0))
    return ends


def check_told_first(train: Interactions, told: Interactions) -> None:
    """Refuse texts that tell of pairs which are no training pairs, or not earlier than those learnt from.

    Raises :class:`~kg.errors.UsageError`.
    """
    hint = "Make the texts from knowledge_text.told_first(train)."
    known = contains(train.keys, told.keys)
    if not known.all():
        raise UsageError(
            f"users' texts tell of {int((~known).sum())} pairs that are not in training.", hint=hint
        )
    is_told = contains(told.keys, train.keys)
    if is_told.all():
        raise UsageError(
            "users' texts tell of every training pair, so none is left to learn from.", hint=hint
        )
    if train.time is None:
        return
    last = np.full(train.n_users, np.iinfo(np.int64).min)
    np.maximum.at(last, train.user[is_told], train.time[is_told])
    late = ~is_told & (train.time <= last[train.user])
    if late.any():
        first = train.user_ids[int(train.user[late][0])]
        raise UsageError(
            f"the texts of {len(np.unique(train.user[late]))} users tell of a time after pairs learnt from.",
            where=first,
            hint=hint,
        )


def _adaptor(config: Config, user_width: int, item_width: int, generator: torch.Generator) -> Adaptor:
    n_shared = config.shared_experts if config.adaptor == "hea" else 0
    n_specific = 1 if config.adaptor == "mlp" else config.specific_experts
    layers = (*config.expert_hidden, config.dim)
    return Adaptor((user_width, item_width), n_shared, n_specific, layers, generator)


def _backbone(config: Config, generator: torch.Generator) -> Backbone:
    n_fields = 5 if config.augment else 3
    if config.backbone == "din":
        return Din(config.dim, n_fields, config.hidden, config.attention_hidden, generator)
    if config.backbone == "dcnv2":
        return DcnV2(config.dim, n_fields, config.hidden, config.cross_layers, generator)
    return DeepFm(config.dim, n_fields, config.hidden, generator)

"""How right extracted facts are against known ones, and how right merged entities are.

A triple is (subject, predicate, object) in names. Names count as equal after
:func:`~kg.facts.normalise_name`, or after a function of the caller's. Every prediction outside the gold is a
false positive, also one whose predicate the gold of that text does not use.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kg.errors import UsageError
from kg.facts import Assertions, normalise_name

Triple = tuple[str, str, str]
Pair = tuple[Collection[Triple], Collection[Triple]]
"""The predicted and the gold triples of one text."""


@dataclass(frozen=True, slots=True)
class Score:
    """Counts of right, wrong and missed things; a ratio without a denominator is 0."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def precision(self) -> float:
        """The share of predictions that are right."""
        return _ratio(self.right, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """The share of gold that was predicted."""
        return _ratio(self.right, self.right + self.missed)

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return _ratio(2 * self.right, 2 * self.right + self.wrong + self.missed)


@dataclass(frozen=True, slots=True)
class Means:
    """Precision, recall and F1, each in [0, 1]."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class FactScores:
    """Scores by predicate; ``micro`` counts all triples alike, ``macro`` averages predicates with gold."""

    by_predicate: Mapping[str, Score]
    micro: Score
    macro: Means


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with the bounds of its bootstrap interval."""

    value: float
    low: float
    high: float


def triples_of(assertions: Assertions) -> set[Triple]:
    """The facts of an extraction as triples of names; a literal object is written as text."""
    names = {entity.id: entity.name for entity in assertions.entities}
    return {
        (
            names[fact.subject],
            fact.predicate,
            names[fact.object] if fact.object is not None else _literal_text(fact.literal),
        )
        for fact in assertions.facts
    }


def score_facts(pairs: Iterable[Pair], *, normalise: Callable[[str], str] = normalise_name) -> FactScores:
    """Score the predicted against the gold triples of each text; a triple counts once a text."""
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for predicted, gold in _normalised(pairs, normalise):
        right.update(predicate for _, predicate, _ in predicted & gold)
        wrong.update(predicate for _, predicate, _ in predicted - gold)
        missed.update(predicate for _, predicate, _ in gold - predicted)
    by_predicate = {
        predicate: Score(right[predicate], wrong[predicate], missed[predicate])
        for predicate in sorted({*right, *wrong, *missed})
    }
    with_gold = [score for score in by_predicate.values() if score.right + score.missed]
    return FactScores(
        by_predicate,
        Score(right.total(), wrong.total(), missed.total()),
        Means(
            _mean([score.precision for score in with_gold]),
            _mean([score.recall for score in with_gold]),
            _mean([score.f1 for score in with_gold]),
        ),
    )


def micro_intervals(
    pairs: Iterable[Pair],
    *,
    rng: np.random.Generator,
    n_samples: int = 1000,
    level: float = 0.95,
    normalise: Callable[[str], str] = normalise_name,
) -> dict[str, Interval]:
    """Micro precision, recall and F1 with percentile bootstrap intervals over texts.

    Texts are drawn with replacement, since the facts of one text are right or wrong together (Efron 1979).
    """
    counts = np.array(
        [(len(p & g), len(p - g), len(g - p)) for p, g in _normalised(pairs, normalise)], dtype=np.int64
    ).reshape(-1, 3)
    if not len(counts) or n_samples < 1 or not 0.0 < level < 1.0:
        raise UsageError("an interval needs at least one text, one sample, and a level between 0 and 1.")
    drawn = rng.multinomial(len(counts), np.full(len(counts), 1.0 / len(counts)), size=n_samples) @ counts
    values, samples = _micro(counts.sum(axis=0, keepdims=True)), _micro(drawn)
    tail = (1.0 - level) / 2.0
    return {
        name: Interval(
            float(values[name][0]),
            float(np.quantile(samples[name], tail)),
            float(np.quantile(samples[name], 1.0 - tail)),
        )
        for name in values
    }


def score_pairs(predicted: Mapping[str, Hashable], gold: Mapping[str, Hashable]) -> Score:
    """Score a clustering by pairs: two things in one cluster are a prediction that they are the same.

    ``predicted`` and ``gold`` map each thing to the label of its cluster, over the same things.
    Raises :class:`~kg.errors.UsageError` where they are not the same.
    """
    both = _contingency(predicted, gold)
    together = sum(map(_pairs, both.values()))
    said = sum(map(_pairs, Counter(predicted.values()).values()))
    true = sum(map(_pairs, Counter(gold.values()).values()))
    return Score(together, said - together, true - together)


def b_cubed(predicted: Mapping[str, Hashable], gold: Mapping[str, Hashable]) -> Means:
    """Score a clustering thing by thing (B³, Bagga and Baldwin 1998), each thing counting alike.

    A thing's precision is the share of its predicted cluster that is of its gold cluster, its recall the
    share of its gold cluster that is in its predicted one. Raises :class:`~kg.errors.UsageError` where
    the two clusterings are of different things.
    """
    both = _contingency(predicted, gold)
    if not both:
        return Means(0.0, 0.0, 0.0)
    said, true = Counter(predicted.values()), Counter(gold.values())
    n_things = len(predicted)
    precision = sum(count * count / said[one] for (one, _), count in both.items()) / n_things
    recall = sum(count * count / true[other] for (_, other), count in both.items()) / n_things
    return Means(precision, recall, _ratio(2.0 * precision * recall, precision + recall))


def clusters(merged: Iterable[tuple[str, str]], things: Sequence[str]) -> dict[str, str]:
    """The clusters that pairs of equal things make, labelled with their first thing in ``things``."""
    root = {thing: thing for thing in things}

    def find(thing: str) -> str:
        while root[thing] != thing:
            root[thing] = root[root[thing]]
            thing = root[thing]
        return thing

    for one, other in merged:
        root[find(other)] = find(one)
    members: defaultdict[str, list[str]] = defaultdict(list)
    for thing in things:
        members[find(thing)].append(thing)
    return {thing: group[0] for group in members.values() for thing in group}


def _normalised(
    pairs: Iterable[Pair], normalise: Callable[[str], str]
) -> Iterable[tuple[set[Triple], set[Triple]]]:
    def fold(triples: Collection[Triple]) -> set[Triple]:
        return {(normalise(subject), predicate, normalise(target)) for subject, predicate, target in triples}

    return ((fold(predicted), fold(gold)) for predicted, gold in pairs)


def _micro(counts: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    right, wrong, missed = counts.T.astype(np.float64)

    def ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.divide(above, below, out=np.zeros_like(above), where=below > 0)

    return {
        "precision": ratio(right, right + wrong),
        "recall": ratio(right, right + missed),
        "f1": ratio(2 * right, 2 * right + wrong + missed),
    }


def _contingency(
    predicted: Mapping[str, Hashable], gold: Mapping[str, Hashable]
) -> Counter[tuple[Hashable, Hashable]]:
    if predicted.keys() != gold.keys():
        odd = sorted(predicted.keys() ^ gold.keys())
        raise UsageError(
            f"the two clusterings are not of the same things: {odd[0]!r} is in one only.",
            hint="Score both over the same things.",
        )
    return Counter((label, gold[thing]) for thing, label in predicted.items())


def _literal_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _pairs(count: int) -> int:
    return count * (count - 1) // 2


def _mean(values: Sequence[float]) -> float:
    return _ratio(sum(values), len(values))


def _ratio(above: float, below: float) -> float:
    return above / below if below else 0.0

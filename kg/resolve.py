"""Entity resolution: which entities of a ledger are the same thing, told by their names and neighbours.

Candidates come from blocks (one type, one family name or folded name). A pair is merged when its folded
names are equal, when one abbreviates the given names of the other and nobody else fits, or when they differ
by a slip of the pen and both stand beside a common neighbour. It is never merged when the keys of the two
differ (release years, birth years), when their numbers differ ("Rocky II", "Rocky III"), or when that merge
was undone before. Every merge is a decision in the ledger, and can be undone.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rapidfuzz.distance import OSA

from kg.facts import Status

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger
    from kg.ledger.rows import EntityRow
    from kg.schema import Schema

BLOCK_AT_MOST = 200
"""A larger block (a family name of half a country) is only compared by equal folded names."""

SLIP_LENGTH = 8
"""Names shorter than this, in letters, differ in earnest when they differ by one: Alien, Aliens."""

SCORES = {"same name": 1.0, "name without key": 0.9, "initials": 0.85, "slip beside a common neighbour": 0.8}
_ARTICLES = ("the ", "a ", "an ")
_SUFFIXES = frozenset({"jr", "sr"})
_NUMBER = re.compile(r"\d+|(?<!\w)[ivx]+(?!\w)")


@dataclass(frozen=True, slots=True)
class MergeProposal:
    """Two entities found to be one: ``loser`` is to be shown as ``winner``. ``score`` is in [0, 1]."""

    loser: str
    winner: str
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class ResolveReport:
    """What a resolution merged, and how many names stay apart because several keyed things fit them."""

    merged: tuple[MergeProposal, ...]
    n_ambiguous: int


@dataclass(frozen=True, slots=True)
class _Candidate:
    row: EntityRow
    folded: str
    words: tuple[str, ...]

    @property
    def rank(self) -> tuple[bool, int, str]:
        """Who stands for a pair: what has a key, then what is named most, then the smaller id."""
        return (not self.row.discriminator, -self.row.n_mentions, self.row.id)


def fold(name: str) -> str:
    """A name without accents, case, punctuation, a leading article and a trailing Jr. or Sr."""
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    words = re.sub(r"[^\w\s]|_", " ", plain.replace("'", "").replace("’", "")).split()
    while len(words) > 1 and words[-1] in _SUFFIXES:
        words.pop()
    folded = " ".join(words)
    for article in _ARTICLES:
        if folded.startswith(article) and len(folded) > len(article):
            return folded[len(article) :]
    return folded


def resolve(ledger: Ledger, schema: Schema) -> ResolveReport:
    """Find what is the same and merge it in one commit; a second run finds nothing new.

    ``schema`` limits the types that are looked at to those it knows.
    """
    report = propose(ledger, schema)
    by_reason: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for proposal in report.merged:
        by_reason[proposal.reason].append((proposal.loser, proposal.winner))
    if by_reason:
        with ledger.batch():
            for reason, pairs in sorted(by_reason.items()):
                ledger.merge_many(pairs, reason=reason)
    return report


def propose(ledger: Ledger, schema: Schema) -> ResolveReport:
    """Find what is the same, and change nothing."""
    undone = {frozenset((merge.loser, merge.winner)) for merge in ledger.merges() if merge.undone}
    neighbours = _neighbours(ledger)
    merged: list[MergeProposal] = []
    n_ambiguous = 0
    for type_ in schema.entities:
        candidates = [_candidate(row) for row in ledger.entities(type=type_)]
        found = _Resolver(candidates, neighbours, undone)
        merged += found.proposals()
        n_ambiguous += found.n_ambiguous
    return ResolveReport(tuple(merged), n_ambiguous)


def _candidate(row: EntityRow) -> _Candidate:
    folded = fold(row.name) or row.name
    return _Candidate(row, folded, tuple(folded.split()))


def _neighbours(ledger: Ledger) -> dict[str, set[str]]:
    arrays = ledger.arrays({Status.EXTRACTED, Status.CURATED, Status.ACCEPTED})
    found: dict[str, set[str]] = defaultdict(set)
    ids = arrays.entity_ids
    for one, other in zip(arrays.subject.tolist(), arrays.object.tolist(), strict=True):
        found[ids[one]].add(ids[other])
        found[ids[other]].add(ids[one])
    return found


class _Resolver:
    """The entities of one type."""

    def __init__(
        self,
        candidates: Sequence[_Candidate],
        neighbours: dict[str, set[str]],
        undone: set[frozenset[str]],
    ) -> None:
        self._neighbours = neighbours
        self._undone = undone
        self._candidates = sorted(candidates, key=lambda found: found.rank)
        self._gone: set[str] = set()
        self._proposals: list[MergeProposal] = []
        self.n_ambiguous = 0

    def proposals(self) -> list[MergeProposal]:
        """Merge equal names first; what is left may be an abbreviation or a slip of one of the winners."""
        for group in _grouped(self._candidates, lambda found: found.folded):
            self._merge_equal(group)
        for block in _grouped(self._candidates, _block):
            alive = [found for found in block if found.row.id not in self._gone]
            if 1 < len(alive) <= BLOCK_AT_MOST:
                self._merge_alike(alive)
        return self._proposals

    def _merge_equal(self, group: Sequence[_Candidate]) -> None:
        """One name: keyed things stay apart by key; what has no key joins the only keyed one."""
        by_key = [list(found) for found in _grouped(group, lambda found: found.row.discriminator)]
        keyed = [found for found in by_key if found[0].row.discriminator]
        keyless = next((found for found in by_key if not found[0].row.discriminator), [])
        for same in by_key:
            for loser in same[1:]:
                self._merge(loser, same[0], "same name")
        if keyless and len(keyed) == 1:
            self._merge(keyless[0], keyed[0][0], "name without key")
        elif keyless and keyed:
            self.n_ambiguous += 1

    def _merge_alike(self, block: Sequence[_Candidate]) -> None:
        for loser in reversed(block):
            fitting = [
                (winner, reason)
                for winner in block
                if winner.row.id not in self._gone and (reason := self._alike(loser, winner))
            ]
            if len(fitting) == 1:
                self._merge(loser, *fitting[0])

    def _alike(self, loser: _Candidate, winner: _Candidate) -> str | None:
        if loser is winner:
            return None
        if _differ(loser.row.discriminator, winner.row.discriminator):
            return None
        if _abbreviates(loser.words, winner.words):
            return "initials"
        if (
            loser.rank > winner.rank
            and _is_slip(loser.folded, winner.folded)
            and not self._neighbours.get(loser.row.id, set()).isdisjoint(
                self._neighbours.get(winner.row.id, set())
            )
        ):
            return "slip beside a common neighbour"
        return None

    def _merge(self, loser: _Candidate, winner: _Candidate, reason: str) -> None:
        if frozenset((loser.row.id, winner.row.id)) in self._undone or loser.row.id in self._gone:
            return
        self._gone.add(loser.row.id)
        self._proposals.append(MergeProposal(loser.row.id, winner.row.id, SCORES[reason], reason))


def _grouped(candidates: Iterable[_Candidate], key: Callable[[_Candidate], str]) -> list[list[_Candidate]]:
    groups: dict[str, list[_Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups[key(candidate)].append(candidate)
    return list(groups.values())


def _block(candidate: _Candidate) -> str:
    """The last word, and the first letter: slips rarely hit both ends."""
    return f"{candidate.words[-1]} {candidate.words[0][:1]}"


def _differ(one: str, other: str) -> bool:
    return bool(one) and bool(other) and one != other


def _abbreviates(short: tuple[str, ...], full: tuple[str, ...]) -> bool:
    """Whether ``short`` has initials where ``full`` has given names: j lasseter, john lasseter."""
    if len(short) != len(full) or len(short) < 2 or short[-1] != full[-1] or short == full:
        return False
    return any(len(word) == 1 for word in short[:-1]) and all(
        part == whole or (len(part) == 1 and len(whole) > 1 and whole.startswith(part))
        for part, whole in zip(short[:-1], full[:-1], strict=True)
    )


def _is_slip(one: str, other: str) -> bool:
    """Whether two names differ by one letter left out, put in, changed or swapped, numbers being equal."""
    if min(len(one), len(other)) < SLIP_LENGTH or _NUMBER.findall(one) != _NUMBER.findall(other):
        return False
    return OSA.distance(one, other, score_cutoff=1) <= 1

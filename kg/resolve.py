"""Entity resolution: which entities of a ledger are the same thing, told by names, keys and neighbours.

Two stages, each among the entities of one type:

1. Names that are equal once folded. What lacks a key (a release year, a birth year) joins the only one of its
   name that has one, where both stand beside a neighbour in common; where several have a key, it stays.
2. Names that are alike: a middle name that is an initial; and, where both stand beside a neighbour in common,
   an initial for the only given name, a middle initial left out, a slip of the pen, or a name that the other
   is also called by. What fits several things that are not one stays.

Two things are never merged whose keys or suffixes (Jr.) differ, or whose merge was undone, and neither are
groups that hold such a pair. A group grows only by what is alike to each of its names, so that no chain of
small steps joins what is far apart. Every merge is a decision in the ledger and can be undone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from kg.naming import (
    NameForm,
    abbreviates,
    is_slip,
    leaves_out_middle,
    name_form,
    same_numbers,
    shares_given_name,
)
from kg.resolve_evidence import Evidence, gather_evidence

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger
    from kg.ledger.rows import EntityRow
    from kg.schema import Schema

Item = TypeVar("Item")

BLOCK_AT_MOST = 200
"""A larger block (a family name of half a country) is only compared by equal folded names."""

SCORES = {
    "same name": 1.0,
    "name without key, beside a common neighbour": 0.9,
    "name turned round": 0.9,
    "initials": 0.9,
    "initials, beside a common neighbour": 0.85,
    "middle initial left out, beside a common neighbour": 0.85,
    "slip beside a common neighbour": 0.8,
    "also called so, beside a common neighbour": 0.8,
}
"""What each reason is worth: an order of trust, chosen, not measured as a probability."""

ALONE = frozenset({"name turned round", "initials"})
"""Reasons for names that are alike which need no neighbour in common."""


@dataclass(frozen=True, slots=True)
class MergeProposal:
    """Two entities found to be one: ``loser`` is to be shown as ``winner``. ``score`` is in [0, 1]."""

    loser: str
    winner: str
    score: float
    reason: str


@dataclass(frozen=True, slots=True)
class ResolveReport:
    """What a resolution merged, and how many names stay apart because several things fit them."""

    merged: tuple[MergeProposal, ...]
    n_ambiguous: int


def resolve(ledger: Ledger, schema: Schema) -> ResolveReport:
    """Find what is the same and merge it in one commit; a second run finds nothing new.

    ``schema`` limits the types that are looked at to those it knows, and names their keys.
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
    evidence = gather_evidence(ledger, schema)
    merged: list[MergeProposal] = []
    n_ambiguous = 0
    for type_ in schema.entities:
        resolver = _Resolver(list(ledger.entities(type=type_)), evidence)
        resolver.join_equal()
        resolver.join_alike()
        merged += resolver.proposals()
        n_ambiguous += resolver.n_ambiguous
    return ResolveReport(tuple(merged), n_ambiguous)


@dataclass(frozen=True, slots=True, eq=False)
class _Member:
    row: EntityRow
    form: NameForm
    key: str
    called: frozenset[str]

    @property
    def rank(self) -> tuple[bool, int, int, str]:
        """Who stands for a group: what has a key, is spelt out, is named most."""
        n_initials = sum(len(word) == 1 for word in self.form.words)
        return (not self.key, n_initials, -self.row.n_mentions, self.row.id)


@dataclass(slots=True, eq=False)
class _Group:
    """Entities taken for one thing; ``joined`` says by which reason each came in."""

    members: list[_Member]
    joined: dict[str, str]

    @property
    def key(self) -> str:
        return next((member.key for member in self.members if member.key), "")

    @property
    def suffix(self) -> str:
        return self.members[0].form.suffix if self.members else ""

    @property
    def forms(self) -> dict[str, NameForm]:
        return {member.form.core: member.form for member in self.members}

    @property
    def called(self) -> frozenset[str]:
        return frozenset().union(*(member.called for member in self.members))

    @property
    def ids(self) -> list[str]:
        return [member.row.id for member in self.members]

    @property
    def best(self) -> _Member:
        return min(self.members, key=lambda member: member.rank)


class _Resolver:
    """The entities of one type."""

    def __init__(self, rows: Sequence[EntityRow], evidence: Evidence) -> None:
        self._evidence = evidence
        self.n_ambiguous = 0
        members = [_member(row, evidence.key(row)) for row in rows]
        members.sort(key=lambda member: member.rank)
        self._groups: list[_Group] = []
        self._home: dict[str, _Group] = {}
        for same in _grouped(members, lambda m: (m.form.core, m.form.article, m.form.suffix, m.key)):
            self._add(same)

    def join_equal(self) -> None:
        """Stage 1: equal cores, whatever the article and the key."""
        for found in _grouped(self._groups, lambda group: group.best.form.core):
            for group in found[1:]:
                for other in found:
                    if group is not other and (reason := self._equal_reason(group, other, found)):
                        self._join(group, other, reason)
            keyed = {group.key for group in found if group.key}
            self.n_ambiguous += len(keyed) > 1 and any(not group.key for group in found)
        self._groups = [group for group in self._groups if group.members]

    def join_alike(self) -> None:
        """Stage 2: of each group the only one that it fits, strongest reasons first."""
        fits: dict[int, dict[int, str]] = defaultdict(dict)
        best = [group.best for group in self._groups]
        called = [group.called for group in self._groups]
        for one, other in self._pairs():
            for loser, winner in ((one, other), (other, one)):
                reason = _name_reason(best[loser], best[winner], called[winner])
                if reason and self._allows(reason, self._groups[loser], self._groups[winner]):
                    fits[loser][winner] = reason
        chosen = []
        for loser, winners in fits.items():
            if len(winners) > 1:
                self.n_ambiguous += 1
                continue
            ((winner, reason),) = winners.items()
            chosen.append((-SCORES[reason], loser, winner, reason))
        for _, loser, winner, reason in sorted(chosen):
            short, full = (self._home[best[number].row.id] for number in (loser, winner))
            if short is not full and self._cohesive(short, full):
                self._join(short, full, reason)

    def proposals(self) -> list[MergeProposal]:
        """One for every entity that something else stands for."""
        found = []
        for group in {id(group): group for group in self._home.values()}.values():
            winner = group.best.row.id
            for member in sorted(group.members, key=lambda member: member.rank):
                if (loser := member.row.id) != winner:
                    reason = group.joined.get(loser) or group.joined.get(winner) or "same name"
                    found.append(MergeProposal(loser, winner, SCORES[reason], reason))
        return found

    def _add(self, same: Sequence[_Member]) -> None:
        """Equal in name and key: one group, but for pairs whose merge was undone."""
        groups: list[_Group] = []
        for member in same:
            home = next((g for g in groups if not self._evidence.undone(g.ids, [member.row.id])), None)
            if home is None:
                home = _Group([], {})
                groups.append(home)
            home.members.append(member)
            self._home[member.row.id] = home
        self._groups += groups

    def _equal_reason(self, one: _Group, other: _Group, found: Sequence[_Group]) -> str | None:
        if not one.members or not other.members or self._contradict(one, other):
            return None
        articles = {member.form.article for group in (one, other) for member in group.members}
        if one.key != other.key:
            alone = len({group.key for group in found if group.key}) == 1
            near = alone and len(articles) == 1 and self._evidence.beside(one.ids, other.ids)
            return "name without key, beside a common neighbour" if near else None
        # Interview is not The Interview; A Hungry Heart and The Hungry Heart are two films of 1917.
        close = len(articles) == 1 or (one.key and len(articles - {""}) == 1)
        return "same name" if close or self._evidence.beside(one.ids, other.ids) else None

    def _pairs(self) -> list[tuple[int, int]]:
        """The numbers of each two groups that a block brings together, once."""
        blocks: dict[str, list[int]] = defaultdict(list)
        for number, group in enumerate(self._groups):
            for key in {key for member in group.members for key in self._block_keys(member)}:
                blocks[key].append(number)
        pairs = {
            (one, other)
            for block in blocks.values()
            if len(block) <= BLOCK_AT_MOST
            for place, one in enumerate(block)
            for other in block[place + 1 :]
        }
        return sorted(pairs)

    def _block_keys(self, member: _Member) -> Iterator[str]:
        """Slips rarely hit both ends of a name; an alias finds the name it is equal to."""
        words, core = member.form.words, member.form.core
        yield f"last {words[-1]} {words[0][0]}"
        yield f"first {words[0]} {words[-1][0]}"
        yield f"core {core}"
        yield f"joined {core.replace(' ', '')}"
        if member.form.turned:
            yield f"core {member.form.turned}"
        for alias in member.called:
            yield f"core {alias}"

    def _allows(self, reason: str, loser: _Group, winner: _Group) -> bool:
        if self._contradict(loser, winner):
            return False
        return reason in ALONE or self._evidence.beside(loser.ids, winner.ids)

    def _cohesive(self, one: _Group, other: _Group) -> bool:
        """Whether every name of one group fits every name of the other, and nothing forbids it."""
        called = one.called | other.called
        return not self._contradict(one, other) and all(
            _fit(a, b) or a.core in called or b.core in called
            for a in one.forms.values()
            for b in other.forms.values()
        )

    def _contradict(self, one: _Group, other: _Group) -> bool:
        return (
            _differ(one.key, other.key)
            or one.suffix != other.suffix
            or self._evidence.undone(one.ids, other.ids)
        )

    def _join(self, one: _Group, other: _Group, reason: str) -> None:
        """Let the group with the better name take in the other."""
        if other.best.rank > one.best.rank:
            one, other = other, one
        for member in one.members:
            self._home[member.row.id] = other
            other.joined[member.row.id] = one.joined.get(member.row.id, reason)
        other.members += one.members
        one.members = []


def _name_reason(loser: _Member, winner: _Member, called: frozenset[str]) -> str | None:
    """What makes the names alike; ``called`` is what else the winner is called."""
    one, other = loser.form, winner.form
    if one.turned and one.turned == other.core:
        return "name turned round"
    if abbreviates(one, other):
        return "initials" if shares_given_name(one, other) else "initials, beside a common neighbour"
    if leaves_out_middle(one, other):
        return "middle initial left out, beside a common neighbour"
    if is_slip(one, other) and loser.rank > winner.rank:
        return "slip beside a common neighbour"
    if one.core in called and same_numbers(one, other):
        return "also called so, beside a common neighbour"
    return None


def _fit(one: NameForm, other: NameForm) -> bool:
    return (
        one.core == other.core
        or one.turned == other.core
        or other.turned == one.core
        or is_slip(one, other)
        or any(
            alike(short, full)
            for alike in (abbreviates, leaves_out_middle)
            for short, full in ((one, other), (other, one))
        )
    )


def _member(row: EntityRow, key: str) -> _Member:
    """With the cores of its aliases of more than one word: a surname alone may be anybody's."""
    form = name_form(row.name)
    aliases = (name_form(alias) for alias in row.aliases)
    called = frozenset(alias.core for alias in aliases if len(alias.words) > 1 and alias.core != form.core)
    return _Member(row, form, key, called)


def _grouped(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    groups: dict[Hashable, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return list(groups.values())


def _differ(one: str, other: str) -> bool:
    return bool(one) and bool(other) and one != other

"""Lists of things in a sentence: "A (born 1930), the newcomer B as the thief, C and D E"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from extraction.local_names import FUNCTION_WORDS, NameFinder, Unit, title_end
from extraction.local_text import Sentence
from extraction.local_types import Typing
from extraction.patterns import Patterns

_LONGEST_PARENTHESIS = 30
_LONGEST_APPOSITION = 30
_LEAD_INS_IN_A_ROW = 4
_PROPER_ROLE, _COMMON_ROLE = "proper", "common"


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of a list: tokens ``[start, end)`` name it; ``stop`` is past its parenthesis and role."""

    name: str
    type: str
    start: int
    end: int
    stop: int
    parenthesis: tuple[int, int] | None = None
    has_role: bool = False
    loose: bool = False
    """Whether a role or a loose separator stands before it in the list."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A list: ``end`` is past everything that belongs to the last entry, ``name_end`` past its name only."""

    items: tuple[Item, ...]
    start: int
    end: int
    name_end: int

    def strict(self) -> Listing | None:
        """The list up to its first role or loose separator, for relations whose lists have neither."""
        kept = tuple(item for item in self.items if not item.loose)
        if len(kept) == len(self.items):
            return self
        return Listing(kept, self.start, kept[-1].stop, kept[-1].end) if kept else None


@dataclass(frozen=True, slots=True)
class _Joint:
    """What stands between two entries: the next one begins at ``end``."""

    end: int
    words: str
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence with its names by first token."""

    sentence: Sentence
    units: Mapping[int, Unit]


class ListReader:
    """Reads lists by the naming conventions of the schema."""

    def __init__(self, patterns: Patterns, typing: Typing) -> None:
        self._names = patterns.names
        self._given = frozenset(name.lower() for name in patterns.names.table.given_names)
        self._groups = frozenset(noun.lower() for noun in patterns.names.table.groups)
        self._finder = NameFinder(patterns.names.table, patterns.cue_words)
        self._typing = typing
        self._first_words = patterns.names.lead_ins.first_words
        self._after = patterns.cue_words
        self._stops = frozenset(
            form.lower() for verb in patterns.verbs for form in (*verb.table.passive, *verb.table.bare)
        )

    def line(self, sentence: Sentence) -> Line:
        """Find the names of a sentence."""
        return Line(sentence, self._finder.units(sentence))

    def read(self, line: Line, position: int, wanted: Sequence[str]) -> Listing | None:
        """The list of things of the ``wanted`` types that begins at token ``position``, if there is one."""
        items: list[Item] = []
        joints: list[_Joint] = []
        joint = _Joint(position, "")
        role = ""
        siblings = False
        while True:
            begin, unit = self._past_lead_ins(line, joint.end)
            item = self._item(line, begin, unit, wanted)
            if item is None or (role and not self._may_follow(line, item, role, joint)):
                further = self._past_apposition(line, joint) if role else None
                if further is None:
                    break
                joint, role = further, ""
                continue
            siblings = siblings or any(w in self._groups for w in line.sentence.lowers[joint.end : begin])
            stop, role = self._past_role(line, item.stop)
            loose = joint.loose or any(known.has_role or known.loose for known in items)
            items.append(replace(item, stop=stop, has_role=stop > item.stop, loose=loose))
            joints.append(joint)
            following = self._joint(line, stop)
            if following is None:
                break
            joint = following
        if not items:
            return None
        items = self._share_surnames(items, joints, siblings)
        kept = tuple(item for item in items if item.type in wanted)
        return Listing(kept, position, items[-1].stop, items[-1].end) if kept else None

    def _item(self, line: Line, position: int, unit: Unit | None, wanted: Sequence[str]) -> Item | None:
        """One entry; it may be of a type that is not wanted, and is then read but not kept."""
        sentence = line.sentence
        known = self._typing.known_at(sentence, position, wanted)
        if known is not None:
            return Item(known.name, known.type, position, known.end, known.end)
        if self._typing.is_title(wanted):
            return self._title(sentence, position, wanted[0])
        if unit is None:
            return self._group(line, position, wanted)
        if unit.possessive or not self._may_be_single(sentence, position, unit.end):
            return None
        end = unit.end
        if end < len(sentence) and sentence.lowers[end] in self._groups:
            end += 1
        name = sentence.name(position, end)
        stop, parenthesis = self._past_parenthesis(sentence, end)
        return Item(name, self._typing.of(name, wanted), position, end, stop, parenthesis)

    def _title(self, sentence: Sentence, position: int, kind: str) -> Item | None:
        """The name of a work, which may begin with "The"."""
        if position >= len(sentence) or not sentence.words[position][0].isupper():
            return None
        end = title_end(sentence, position)
        stop, parenthesis = self._past_parenthesis(sentence, end)
        return Item(sentence.name(position, end), kind, position, end, stop, parenthesis)

    def _may_be_single(self, sentence: Sentence, start: int, end: int) -> bool:
        """Whether a name of one word may stand alone: "stars Cher.", but not "starring Hollywood stars"."""
        if end - start > 1 or end == len(sentence) or not sentence.words[end][0].islower():
            return len(sentence.words[start]) > 1
        known = sentence.lowers[end] in FUNCTION_WORDS or sentence.lowers[end] in self._after
        return known or sentence.lowers[end] in self._groups

    def _group(self, line: Line, position: int, wanted: Sequence[str]) -> Item | None:
        """ "the Coen brothers", "The Wachowskis": a family under one name."""
        sentence = line.sentence
        if position >= len(sentence) or sentence.lowers[position] != "the":
            return None
        unit = line.units.get(position + 1)
        if unit is None or unit.possessive:
            return None
        end = unit.end
        named = end < len(sentence) and sentence.lowers[end] in self._groups
        inside = sentence.lowers[end - 1] in self._groups
        if not (named or inside or sentence.lowers[end - 1].endswith("s")):
            return None
        end += 1 if named else 0
        name = f"The {sentence.name(position + 1, end)}"
        kind = self._typing.of(name, wanted)
        return Item(name if not (named or inside) else name[4:], kind, position, end, end)

    def _past_lead_ins(self, line: Line, position: int) -> tuple[int, Unit | None]:
        """Past words such as "actor" and "the late" before a name, and the name that begins there.

        Where such a word is the first of a name by its form ("French Anna Bell"), two more must follow.
        """
        at, unit = position, line.units.get(position)
        for _ in range(_LEAD_INS_IN_A_ROW):
            if unit is not None and not self._leads_in(line, unit):
                break
            end = self._names.lead_ins.end(line.sentence.lowers, at)
            if end is None:
                break
            inside = unit is not None and end < unit.end
            if unit is not None and inside and unit.end - end < 2:
                break
            at, unit = end, replace(unit, start=end) if unit is not None and inside else line.units.get(end)
        return (position, line.units.get(position)) if unit is None else (at, unit)

    def _leads_in(self, line: Line, unit: Unit) -> bool:
        """Whether a name may belong to what leads in the name meant: "Hong Kong" in "Hong Kong actor A"."""
        sentence = line.sentence
        first = sentence.lowers[unit.start] in self._first_words
        follows = unit.end < len(sentence) and sentence.words[unit.end][0].islower()
        return first or (follows and sentence.lowers[unit.end] not in FUNCTION_WORDS)

    def _past_parenthesis(self, sentence: Sentence, position: int) -> tuple[int, tuple[int, int] | None]:
        if position >= len(sentence) or sentence.words[position] != "(":
            return position, None
        for end in range(position + 1, min(len(sentence), position + _LONGEST_PARENTHESIS)):
            if sentence.words[end] == ")":
                return end + 1, (position, end + 1)
        return position, None

    def _past_role(self, line: Line, position: int) -> tuple[int, str]:
        """Past "as the thief" and "in the title role"; also what kind of role it was."""
        at = position
        end = self._names.trailers.end(line.sentence.lowers, at)
        if end is not None:
            at = end
        opened = self._role_at(line, at)
        if opened is None:
            return at, ""
        end = self._role_end(line, opened)
        inside = any(start < end <= unit.end for start, unit in line.units.items() if start >= opened)
        closed = line.sentence.words[end - 1] in (")", '"', "”")
        return end, _PROPER_ROLE if inside or closed else _COMMON_ROLE

    def _role_end(self, line: Line, position: int) -> int:
        sentence, at = line.sentence, position
        while at < len(sentence):
            word = sentence.lowers[at]
            if word in (",", ";", ".", ":", "–", "—"):
                break
            if word == "(":
                at = max(at + 1, self._past_parenthesis(sentence, at)[0])
                continue
            if at > position and (self._opens_entry(line, at) or word in self._stops):
                return at - 1 if word in self._stops and sentence.lowers[at - 1] in ("and", "&") else at
            at += 1
        return at

    def _past_apposition(self, line: Line, joint: _Joint) -> _Joint | None:
        """Past more about a role, to the next name with a role of its own: "A as B, a spy, and C as D"."""
        sentence = line.sentence
        for position in range(joint.end, min(len(sentence), joint.end + _LONGEST_APPOSITION)):
            if sentence.lowers[position] in self._stops or sentence.words[position] == ";":
                return None
            if sentence.lowers[position] in (",", "and", "&"):
                found = self._joint(line, position)
                unit = None if found is None else self._past_lead_ins(line, found.end)[1]
                if unit is not None and self._has_role(line, unit.end):
                    return found
        return None

    def _opens_entry(self, line: Line, position: int) -> bool:
        """Whether a separator stands here that another entry, not more of the role, follows."""
        joint = self._joint(line, position)
        if joint is None:
            return False
        _, unit = self._past_lead_ins(line, joint.end)
        if unit is None:
            return False
        plain = line.sentence.lowers[position] in ("and", "&")
        return not plain or self._has_role(line, unit.end)

    def _has_role(self, line: Line, position: int) -> bool:
        opens = position < len(line.sentence) and line.sentence.words[position] == "("
        return opens or self._role_at(line, position) is not None

    def _role_at(self, line: Line, position: int) -> int | None:
        """Past the words that open a role, with or without a comma before them."""
        comma = position < len(line.sentence) and line.sentence.words[position] == ","
        return self._names.roles.end(line.sentence.lowers, position + comma)

    def _may_follow(self, line: Line, item: Item, role: str, joint: _Joint) -> bool:
        """Whether a name after a role is the next entry, not more about the role ("two sailors, A and B")."""
        if self._has_role(line, item.end):
            return True
        if item.end - item.start < 2:
            return False
        return role == _PROPER_ROLE or joint.words != ","

    def _joint(self, line: Line, position: int) -> _Joint | None:
        """What joins the next entry at ``position``: commas, "and", a separator of the schema, or several."""
        sentence, at, loose = line.sentence, position, False
        while at < len(sentence):
            if sentence.lowers[at] in (",", "and", "&"):
                at += 1
                continue
            end = self._names.separators.end(sentence.lowers, at)
            if end is None:
                end = self._names.loose_separators.end(sentence.lowers, at)
                loose = loose or end is not None
            if end is None:
                break
            at = end
        return _Joint(at, " ".join(sentence.lowers[position:at]), loose) if at > position else None

    def _share_surnames(self, items: list[Item], joints: list[_Joint], siblings: bool) -> list[Item]:
        """ "Joel and Ethan Coen": the first shares the surname of the second."""
        shared = list(items)
        for index in range(len(items) - 2, -1, -1):
            first, second = items[index], shared[index + 1]
            parts = second.name.split()
            single = first.end - first.start == 1 and first.stop == first.end
            if not (single and len(parts) > 1 and first.type == second.type):
                continue
            if (joints[index + 1].words in ("and", "&") and first.name.lower() in self._given) or (
                siblings and len(parts) == 2
            ):
                shared[index] = replace(first, name=f"{first.name} {' '.join(parts[1:])}")
        return shared

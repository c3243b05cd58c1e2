"""What the language model of ``lore.toml`` knows of the items, and makes of what users chose."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kg.errors import UsageError
from loregraph.language_model import budget, open_client, prices
from loregraph.training_data import Ground
from loregraph.workspace import Workspace

if TYPE_CHECKING:
    from language.calls import Totals
    from recommender.knowledge_text import Knowledge, KnowledgeWriter

_FAILURES_TOLD = 3


def write(
    workspace: Workspace,
    ground: Ground,
    texts: Sequence[str],
    domain: str,
    *,
    send_interactions: bool,
) -> tuple[Knowledge, list[str]]:
    """Texts of all items, and of all users from the first half of what they had in training; and notes.

    An item is called by its text in ``texts`` [n_items], where that is empty by the name of its entity or its
    id; its prompt holds what the graph states of it. What is answered stays in the call ledger. Raises
    :class:`~kg.errors.UsageError` where what users chose would leave this machine and ``send_interactions``
    does not allow it, and :class:`~kg.errors.LanguageModelError` where the model cannot be asked or the
    budget is spent.
    """
    from recommender.serving.packing import name_items

    train = ground.split.train
    given = dict(zip(train.item_ids, texts, strict=True))
    titles = name_items(train, given, ground.graph, ground.snapshot)
    return asyncio.run(_write(workspace, ground, titles, domain, send_interactions))


async def _write(
    workspace: Workspace, ground: Ground, titles: Sequence[str], domain: str, send_interactions: bool
) -> tuple[Knowledge, list[str]]:
    from language.calls import Calls
    from recommender.knowledge_text import KnowledgeWriter, facts_of_items, write_knowledge

    snapshot, train = ground.snapshot, ground.split.train
    facts = None if snapshot is None else facts_of_items(snapshot, ground.links, train.item_ids)
    with Calls(workspace.calls_path) as calls:
        async with open_client(workspace) as client:
            writer = KnowledgeWriter(
                client,
                calls,
                domain,
                send_interactions=send_interactions,
                budget=budget(workspace),
                prices=prices(workspace),
            )
            _check_may_send(writer)
            found = await write_knowledge(writer, train, titles, facts)
    return found, _notes(found, writer.totals)


def _check_may_send(writer: KnowledgeWriter) -> None:
    """As the writer's own check, told in the words of the command."""
    try:
        writer.check_may_send()
    except UsageError as refused:
        raise UsageError(
            refused.what,
            where=refused.where,
            hint="Allow it with --send-interactions, or use a model served on localhost.",
        ) from None


def _notes(found: Knowledge, totals: Totals) -> list[str]:
    written = [sum(map(bool, texts.texts)) for texts in (found.items, found.users)]
    notes = [
        f"the language model wrote of {written[0]} items and {written[1]} users by"
        f" {', '.join(found.factors)}: {totals.calls} calls, {totals.cached} answered before"
    ]
    failures = [*found.items.failures, *found.users.failures]
    notes += [f"no text for {failure.rstrip('.')}" for failure in failures[:_FAILURES_TOLD]]
    if len(failures) > _FAILURES_TOLD:
        notes.append(f"and no text for {len(failures) - _FAILURES_TOLD} more")
    return notes

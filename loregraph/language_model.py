"""The chat model that ``lore.toml`` names, with its price and its budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loregraph.workspace import Workspace

if TYPE_CHECKING:
    from language.calls import Budget, Price
    from language.chat import OpenAIChatModel


def open_client(workspace: Workspace) -> OpenAIChatModel:
    """The client; close it."""
    from language.chat import OpenAIChatModel

    settings = workspace.settings.language
    return OpenAIChatModel(
        settings.model,
        settings.base_url,
        settings.api_key.get_secret_value() or None,
        max_in_flight=settings.max_in_flight,
    )


def budget(workspace: Workspace) -> Budget:
    """What one command may spend."""
    from language.calls import Budget

    return Budget(dollars=workspace.settings.language.budget_dollars)


def prices(workspace: Workspace) -> dict[str, Price]:
    """By model; empty where no price is set, and what is spent is then not known."""
    from language.calls import Price

    settings = workspace.settings.language
    price = Price(settings.dollars_per_million_prompt_tokens, settings.dollars_per_million_completion_tokens)
    return {settings.model: price} if price.prompt or price.completion else {}

"""Commands that fill the graph: init, ingest, documents, schema, link, import, export, store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loregraph.cli.options import JsonOption, WorkspaceOption
from loregraph.cli.output import (
    end_progress,
    next_step,
    print_json,
    print_pairs,
    print_rows,
    progress_line,
    say,
)
from loregraph.workspace import Workspace

documents_app = typer.Typer(help="List the stored documents, or delete one.", no_args_is_help=True)
store_app = typer.Typer(help="Look after the graph store.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add these commands to the root."""
    app.command()(init)
    app.command()(ingest)
    app.add_typer(documents_app, name="documents")
    app.command()(schema)
    app.command()(link)
    app.command(name="import")(import_)
    app.command()(export)
    app.add_typer(store_app, name="store")


def init(
    directory: Annotated[Path, typer.Argument(help="The folder to make.")],
    schema_file: Annotated[
        Path | None,
        typer.Option("--schema", help="A schema to start from; a small general one if not named."),
    ] = None,
) -> None:
    """Make a workspace: lore.toml, schema.toml, the ledger."""
    from loregraph.starter import STARTER_SCHEMA

    workspace = Workspace.create(directory, _read(schema_file) if schema_file else STARTER_SCHEMA)
    say(f"made {workspace.root}")
    if schema_file is None:
        say(f"edit {workspace.schema_path}: the local extractor finds what patterns there describe")
    next_step("lore ingest PATH…", directory)


def _read(path: Path) -> str:
    from kg.errors import UsageError

    try:
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise UsageError(f"the file cannot be read: {problem.strerror}.", where=str(path)) from None
    except UnicodeDecodeError:
        raise UsageError("the file is not UTF-8 text.", where=str(path)) from None


def ingest(
    paths: Annotated[list[str], typer.Argument(help="Files, folders or globs; - reads stdin.")],
    workspace: WorkspaceOption = None,
    extractor: Annotated[str | None, typer.Option(help="local, or llm.")] = None,
    text_field: Annotated[str, typer.Option(help="The field or column that holds the text.")] = "text",
    title_field: Annotated[str, typer.Option(help="The field or column that holds the title.")] = "title",
    id_field: Annotated[str | None, typer.Option(help="The field or column that names a row.")] = None,
    encoding: Annotated[str, typer.Option(help="How the files are encoded.")] = "utf-8",
    file_format: Annotated[
        str | None, typer.Option("--format", help="txt md html pdf jsonl csv tsv.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take and cost; store nothing.")
    ] = False,
    failures_file: Annotated[
        Path | None, typer.Option("--failures", help="Write every failed document to this JSON-lines file.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Read documents, extract facts, and bring the graph up to date. A killed run goes on where it was."""
    from extraction.documents import ReadOptions
    from loregraph.ingesting import estimate_paths, ingest_paths

    found = Workspace.find(workspace)
    options = ReadOptions(
        text_field=text_field,
        title_field=title_field,
        id_field=id_field,
        encoding=encoding,
        format=file_format,
    )
    if dry_run:
        print_pairs(estimate_paths(found, paths, options, extractor), as_json=json_)
        return
    try:
        done = ingest_paths(found, paths, options, extractor, failures_file, progress_line, say)
    finally:
        end_progress()
    print_pairs(done.summary, as_json=json_)
    for line in done.narration:
        say(line)
    if done.stopped is not None:
        say("stopped early; what was stored stays, and the same command goes on from there")
        raise done.stopped
    if done.all_failed:
        raise typer.Exit(1)
    next_step('lore query "MATCH (n:Entity) RETURN n.name LIMIT 10"', workspace)


@documents_app.command("list")
def documents_list(
    workspace: WorkspaceOption = None,
    limit: Annotated[int, typer.Option(help="At most this many.", min=1)] = 100,
    json_: JsonOption = False,
) -> None:
    """List the stored documents."""
    from itertools import islice

    with Workspace.find(workspace).ledger() as ledger:
        rows = [
            {
                "id": row.id,
                "uri": " ".join(row.uris),
                "title": row.title,
                "characters": row.n_characters,
                "chunks": row.n_chunks,
                "facts": row.n_facts,
            }
            for row in islice(ledger.documents(), limit)
        ]
    print_rows(rows, as_json=json_)
    next_step("lore documents delete ID", workspace)


@documents_app.command("delete")
def documents_delete(
    names: Annotated[list[str], typer.Argument(help="Ids or places (URIs) of documents.")],
    workspace: WorkspaceOption = None,
) -> None:
    """Delete documents, their text, and every fact that only they support."""
    from kg.errors import NotFound

    found = Workspace.find(workspace)
    with found.ledger() as ledger:
        unknown = [name for name in names if not (ledger.has_document(name) or ledger.holds(name))]
        if unknown:
            raise NotFound(f"no document {unknown[0]!r}.", hint="`lore documents list` shows ids and places.")
        with ledger.batch():
            n_deleted = sum(
                ledger.drop_place(name) if ledger.holds(name) else ledger.drop_document(name)
                for name in dict.fromkeys(names)
            )
        waiting = found.project(ledger)
    say(f"deleted {n_deleted} of the stored documents")
    if waiting:
        say(waiting)
    next_step("lore stats", workspace)


def schema(workspace: WorkspaceOption = None, json_: JsonOption = False) -> None:
    """Print the schema, and what the graph holds of it."""
    found = Workspace.find(workspace)
    with found.ledger() as ledger, found.store(ledger) as store:
        held = store.schema()
    rows = [
        {
            "kind": "entity",
            "name": name,
            "count": held.labels.get(name, 0),
            "of": found.schema.entities[name].description,
        }
        for name in found.schema.entities
    ]
    rows += [
        {
            "kind": "relation",
            "name": name,
            "count": held.relationships.get(name, 0),
            "of": f"{'|'.join(relation.domain)} -> {'|'.join(relation.range)}",
        }
        for name, relation in found.schema.relations.items()
    ]
    rows += [
        {"kind": "property", "name": name, "count": None, "of": f"{'|'.join(prop.domain)}: {prop.datatype}"}
        for name, prop in found.schema.properties.items()
    ]
    print_rows(rows, as_json=json_)
    say(f"edit {found.schema_path} to change it")


def link(
    items: Annotated[Path, typer.Argument(help="The catalogue: CSV, Parquet, RecBole .item.")],
    workspace: WorkspaceOption = None,
    entity_type: Annotated[
        str | None,
        typer.Option("--type", help="The entity type of an item; the schema's first if not named."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Link catalogue items to entities of the graph, and report what links to nothing."""
    from extraction.linking import link_items, read_items, save_links

    found = Workspace.find(workspace)
    type_ = entity_type or next(iter(found.schema.entities))
    if type_ not in found.schema.entities:
        from kg.errors import UsageError

        raise UsageError(f"{type_!r} is no entity type of the schema.", hint="`lore schema` lists them.")
    with found.ledger() as ledger:
        report = link_items(
            read_items(items), ledger, entity_type=type_, key_property=found.schema.entities[type_].key
        )
    save_links(report.links, found.links_path)
    summary = {
        "linked": len(report.links),
        "ambiguous": len(report.ambiguous),
        "unlinked": len(report.unlinked),
        "links": str(found.links_path),
    }
    if json_:
        unlinked = [{"item": u.item.id, "name": u.item.name, "nearest": u.nearest} for u in report.unlinked]
        ambiguous = [{"item": a.item.id, "name": a.item.name, "nearest": a.nearest} for a in report.ambiguous]
        print_json({**summary, "unlinked_items": unlinked, "ambiguous_items": ambiguous})
    else:
        print_pairs(summary, as_json=False)
    for item in report.unlinked[:10]:
        say(f"unlinked: {item.item.id} {item.item.name!r}; nearest: {', '.join(item.nearest) or 'nothing'}")
    next_step("lore train kgat --interactions FILE", workspace)


def import_(
    file: Annotated[Path, typer.Argument(help="Facts: jsonl, csv, parquet, turtle, trig, jsonld, nquads.")],
    workspace: WorkspaceOption = None,
    file_format: Annotated[
        str | None, typer.Option("--format", help="The format, where the ending does not say.")
    ] = None,
) -> None:
    """Import facts as a curated source; importing the same file again replaces it."""
    from kg.exchange.facts import import_facts

    found = Workspace.find(workspace)
    with found.ledger() as ledger:
        count = import_facts(ledger, file, schema=found.schema, format=file_format)
        waiting = found.project(ledger)
    say(f"imported {count} facts from {file}")
    if waiting:
        say(waiting)
    next_step("lore stats", workspace)


def export(
    file: Annotated[Path, typer.Argument(help="Where to write.")],
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="jsonl parquet csv turtle trig jsonld nquads recbole pykeen; else by the ending.",
        ),
    ] = None,
    entities: Annotated[
        bool, typer.Option("--entities", help="The entities instead of the facts (csv, parquet).")
    ] = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Write every fact with its evidence to a file; with recbole also the items' links, beside it."""
    from kg.exchange.facts import export_entities, export_facts, export_links, format_of

    found = Workspace.find(workspace)
    with found.ledger() as ledger:
        write = export_entities if entities else export_facts
        count = write(ledger, file, format=file_format)
        say(f"wrote {count} {'entities' if entities else 'facts'} to {file}")
        if format_of(file, file_format) == "recbole" and found.links_path.is_file():
            beside = file.with_suffix(".link")
            say(f"wrote {export_links(found.links(ledger), beside)} links to {beside}")


@store_app.command("rebuild")
def store_rebuild(workspace: WorkspaceOption = None) -> None:
    """Throw the graph away and build it again from the ledger."""
    from loregraph.rebuilding import rebuild

    found = Workspace.find(workspace)
    version = rebuild(found)
    say(f"the graph shows ledger version {version}")
    next_step("lore stats", workspace)

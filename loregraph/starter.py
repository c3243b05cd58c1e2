"""The schema of a new workspace: small, general, and meant to be edited."""

STARTER_SCHEMA = """\
# Entity types, relations and properties of this workspace. `lore schema` shows what the graph holds of them.
name = "starter"

[entity.Person]
description = "A human being"

[entity.Organisation]
description = "A company, an institution, a group"

[entity.Place]
description = "A country, a city, a region"

[entity.Work]
description = "A book, a film, a piece of music, a product"
key = "year"

[relation.CREATED_BY]
domain = ["Work"]
range = ["Person", "Organisation"]

[relation.WORKS_FOR]
domain = ["Person"]
range = ["Organisation"]

[relation.LOCATED_IN]
domain = ["Organisation", "Place", "Work"]
range = ["Place"]

[property.year]
domain = ["Work"]
datatype = "integer"

# The local extractor needs patterns for these: see docs/patterns.md. The LLM extractor needs only the schema.
"""

"""Facts in and out: JSON lines, tables, RDF, RecBole."""

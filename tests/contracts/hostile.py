"""Texts that a stranger may send to harm: 200 and more that must fail without a trace, 30 that must run.

``<port>`` is a port that counts its visitors, ``<folder>`` a watched folder, ``<transaction>`` and
``<connection>`` name somebody else's work on the server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_WRITES = [
    "CREATE (n:Film {id: 'evil'})",
    "MATCH (f:Film) SET f.name = 'evil'",
    "MATCH (f:Film) SET f += {name: 'evil'} RETURN f",
    "MATCH (f:Film) REMOVE f.name RETURN f.id",
    "MATCH (f:Film) DETACH DELETE f",
    "MATCH (:Film)-[r:STARS]->(:Person) DELETE r",
    "MERGE (n:Film {id: 'evil'}) ON CREATE SET n.name = 'evil' RETURN n",
    "MATCH (f:Film) SET f:Evil RETURN f",
    "FOREACH (x IN [1] | CREATE (:Film {id: 'evil'}))",
    "MATCH (a:Film), (b:Person) CREATE (a)-[:STARS {id: 'evil'}]->(b)",
    "MATCH (m:LoreMarker) SET m.version = 99",
    "INSERT (n:Film {id: 'evil'})",
]
_DISGUISES: list[Callable[[str], str]] = [
    lambda text: text,
    lambda text: re.sub("[A-Z]{2,}", lambda found: found[0].title().swapcase(), text),
    lambda text: "// RETURN 1\n/* MATCH (n) RETURN n */ " + text,
    lambda text: text.replace(" ", "/*'*/ /*`*/ "),
    lambda text: text.replace(" ", "\n\t\r\n "),
    lambda text: "WITH 'x' AS x " + text,
    lambda text: "MATCH (z:Film) WITH z LIMIT 1 CALL (z) { " + text.partition(" RETURN")[0] + " } RETURN z",
    lambda text: "RETURN 1 AS x; " + text,
    lambda text: "PROFILE " + text,
    lambda text: "".join(f"\\u{ord(c):04x}" if c in "CMSRDI" else c for c in text),
]
_FILES = ["file:///etc/passwd", "file://<folder>/secret.csv", "http://127.0.0.1:<port>/x.csv",
          "https://127.0.0.1:<port>/", "ftp://127.0.0.1:<port>/x", "file:///../conf/neo4j.conf"]  # fmt: skip
_PROCEDURES = [
    "dbms.listConfig()", "dbms.listConnections()", "dbms.killConnection('<connection>')",
    "dbms.killConnections(['<connection>'])", "dbms.queryJmx('*:*')", "dbms.components()",
    "dbms.setConfigValue('db.transaction.timeout', '1')", "dbms.procedures()", "dbms.info()",
    "dbms.security.createUser('evil', 'evil')", "dbms.listActiveLocks('1')", "dbms.listPools()",
    "db.clearQueryCaches()", "db.prepareForReplanning()", "db.stats.collect('GRAPH COUNTS')",
    "db.checkpoint()", "db.createLabel('Evil')", "db.createProperty('evil')", "db.ping()",
    "db.createRelationshipType('EVIL')", "db.resampleOutdatedIndexes()", "tx.setMetaData({evil: 1})",
    "apoc.load.json('http://127.0.0.1:<port>/')", "apoc.cypher.doIt('CREATE (n)', {})",
    "apoc.export.csv.all('<folder>/out.csv', {})", "gds.graph.project('evil', '*', '*')",
    "genai.vector.encodeBatch(['x'], 'OpenAI', {endpoint: 'http://127.0.0.1:<port>'})",
]  # fmt: skip
_COMMANDS = [
    "SHOW USERS", "SHOW SETTINGS", "SHOW TRANSACTIONS", "SHOW DATABASES", "SHOW INDEXES", "SHOW PROCEDURES",
    "SHOW FUNCTIONS", "SHOW CONSTRAINTS", "SHOW CURRENT USER", "SHOW TRANSACTIONS YIELD * RETURN *",
    "TERMINATE TRANSACTION '<transaction>'",
    "TERMINATE TRANSACTIONS '<transaction>' YIELD message RETURN message",
    "SHOW TRANSACTIONS YIELD transactionId AS t TERMINATE TRANSACTIONS t YIELD message RETURN message",
    "ALTER CURRENT USER SET PASSWORD FROM 'a' TO 'evilevil'", "CREATE USER evil SET PASSWORD 'evilevil'",
    "DROP USER neo4j", "CREATE DATABASE evil", "DROP DATABASE neo4j", "STOP DATABASE neo4j",
    "ALTER DATABASE neo4j SET ACCESS READ ONLY", "CREATE INDEX evil FOR (f:Film) ON (f.name)",
    "DROP INDEX lore_entity_names", "DROP CONSTRAINT lore_entity_id", "USE system SHOW USERS",
    "CREATE CONSTRAINT evil FOR (f:Film) REQUIRE f.name IS UNIQUE", "GRANT ROLE admin TO neo4j",
    "ENABLE SERVER 'x'", "CREATE ALIAS evil FOR DATABASE neo4j", "USE system MATCH (n) RETURN n",
    ":use system", ":param x => 1",
]  # fmt: skip
_EMBEDDED_COMMANDS = [
    "COPY (MATCH (f:Film) RETURN f.name) TO '<folder>/out.csv'", "COPY Film TO '<folder>/out.parquet'",
    "COPY Film FROM '<folder>/secret.csv'", "LOAD FROM '<folder>/secret.csv' RETURN *",
    "LOAD FROM '/etc/passwd' (HEADER = false) RETURN *", "EXPORT DATABASE '<folder>/dump'",
    "IMPORT DATABASE '<folder>/dump'", "ATTACH '<folder>/secret.csv' AS evil (dbtype duckdb)",
    "DETACH evil", "INSTALL httpfs", "LOAD EXTENSION httpfs", "LOAD EXTENSION '<folder>/evil.so'",
    "UNINSTALL httpfs", "CHECKPOINT", "checkpoint;", "/* read */ CHECKPOINT", "CALL threads=64",
    "CALL show_tables() RETURN *", "CALL checkpoint_threshold=1", "CALL current_setting('threads') RETURN *",
    "CALL show_connection('STARS') RETURN *", "CALL table_info('Film') RETURN *", "BEGIN TRANSACTION",
    "COMMIT", "ROLLBACK", "DROP TABLE Film", "ALTER TABLE Film ADD evil STRING", "ALTER TABLE Film DROP name",
    "CREATE NODE TABLE Evil(id STRING PRIMARY KEY)", "CREATE REL TABLE EVIL(FROM Film TO Film)",
    "CREATE MACRO evil(x) AS x + 1", "CREATE SEQUENCE evil", "COMMENT ON TABLE Film IS 'evil'",
    "PROJECT GRAPH evil (['Film'], ['STARS'])", "LOAD FROM 'http://127.0.0.1:<port>/x.csv' RETURN *",
]  # fmt: skip
_TWO = [
    "RETURN 1 AS x; RETURN 2 AS x", "RETURN 1 AS x; CREATE (:Film {id: 'evil'})",
    ";CREATE (:Film {id: 'evil'})", "RETURN 1 AS x;\n// end\nRETURN 2 AS x",
    "RETURN ';' AS x; MATCH (f:Film) DETACH DELETE f", "RETURN 1 AS x /* ; */; RETURN 2 AS x",
    "RETURN 1 AS x;;RETURN 2 AS x", "MATCH (f:Film) RETURN f; CHECKPOINT",
]  # fmt: skip
_HUGE = {
    "parentheses": "RETURN " + "(" * 5000 + "1" + ")" * 5000 + " AS x",
    "lists": "RETURN " + "[" * 5000 + "]" * 5000 + " AS x",
    "maps": "RETURN " + "{a: " * 3000 + "1" + "}" * 3000 + " AS x",
    "never closed": "RETURN " + "(" * 10_000,
    "plus": "RETURN " + "+".join(["1"] * 20_000) + " AS x",
    "short plus": "RETURN " + "+".join(["1"] * 9_000) + " AS x",
    "not": "RETURN " + "NOT " * 4_000 + "true AS x",
    "minus": "RETURN " + "- " * 9_000 + "1 AS x",
    "and": "MATCH (f:Film) WHERE " + " AND ".join(["f.id = 'a'"] * 1_500) + " RETURN f",
    "case": "RETURN " + "CASE WHEN true THEN " * 800 + "1" + " END" * 800 + " AS x",
    "exists": "MATCH (n:Film) WHERE " + "EXISTS { MATCH (n) WHERE " * 400 + "true" + "}" * 400 + " RETURN n",
    "calls": "RETURN " + "abs(" * 4_000 + "1" + ")" * 4_000 + " AS x",
    "long text": "RETURN '" + "x" * 100_000 + "' AS x",
    "long name": "RETURN 1 AS `" + "x" * 100_000 + "`",
    "properties": "MATCH (n:Film) RETURN n" + ".a" * 5_000 + " AS x",
    "indexes": "RETURN [1]" + "[0]" * 5_000 + " AS x",
    "comprehensions": "RETURN " + "[x IN " * 2_000 + "[1]" + "]" * 2_000 + " AS x",
}
_ENDLESS = [
    "UNWIND range(1, 1000000) AS a UNWIND range(1, 1000000) AS b WITH a, b WHERE a = -b RETURN count(*) AS n",
    "MATCH (a:Entity), (b:Entity), (c:Entity), (d:Entity), (e:Entity), (f:Entity) "
    "WHERE a.version + b.version + c.version + d.version + e.version + f.version < 0 RETURN count(*) AS n",
    "UNWIND range(1, 1000000000) AS a WITH a WHERE a < 0 RETURN count(a) AS n",
    "MATCH (a:Entity)-[*1..30]-(b:Entity) RETURN count(*) AS n",
    "UNWIND range(1, 100000) AS a UNWIND range(1, 100000) AS b WITH DISTINCT a, b RETURN count(*) AS n",
    "UNWIND range(1, 1000000000) AS a RETURN max(size(toString(a) + 'aaaaaaaaaaaaaaaa')) AS n",
]
_BROKEN = ["", "   ", "\n// nothing\n", "/* never ends", "RETURN 'never ends", "MATCH (f:Film RETURN f",
           "\x00", "🤖",
           "RETURN", "SELECT * FROM Film", "MATCH", "''", "`", "$x", "EXPLAIN", "{}", "RETURN 1 AS x UNION",
           "MATCH (f:Film) RETURN f.name AS name LIMIT -1", "MATCH (f:Film) RETURN nosuchfunction(f) AS x",
           "RETURN apoc.version() AS x", "RETURN `apoc`.`version`() AS x",
           "RETURN genai.vector.encode('x', 'OpenAI', {}) AS x"]  # fmt: skip

FAMILIES: Mapping[str, list[str]] = {
    "writes in disguise": [disguise(text) for text in _WRITES for disguise in _DISGUISES],
    "files and addresses": [
        text.replace("<place>", place)
        for place in _FILES
        for text in (
            "LOAD CSV FROM '<place>' AS line RETURN line",
            'load/**/csv WITH HEADERS FROM "<place>" AS line RETURN line LIMIT 1',
            "MATCH (f:Film) CALL (f) { LOAD CSV FROM '<place>' AS l RETURN l } RETURN l",
            "RETURN EXISTS { LOAD CSV FROM '<place>' AS l RETURN l } AS x",
        )
    ],
    "procedures": [f"CALL {call}" for call in _PROCEDURES]
    + ["CALL `dbms`.`listConfig`() YIELD name RETURN name", "CALL dbms . listConfig ( )"]
    + ["RETURN COLLECT { CALL dbms.listConfig() YIELD name RETURN name } AS x"]
    + ["MATCH (f:Film) WHERE EXISTS { CALL dbms.listConfig() YIELD name RETURN name } RETURN f"],
    "commands": _COMMANDS,
    "commands of the embedded engine": _EMBEDDED_COMMANDS,
    "two statements": _TWO,
    "too large": list(_HUGE.values()),
    "endless": _ENDLESS,
    "broken": _BROKEN,
}


def aimed(text: str, **targets: object) -> str:
    """A hostile text with its placeholders filled in."""
    for name, target in targets.items():
        text = text.replace(f"<{name}>", str(target))
    return text


HARMLESS = [
    "RETURN 'CREATE (n) DETACH DELETE n' AS x",
    "RETURN \"LOAD CSV FROM 'file:///etc/passwd' AS l\" AS x",
    "RETURN 'a; b; c' AS x",
    "RETURN 1 AS x; ",
    "RETURN 1 AS x // ; CREATE (n)",
    "/* DROP TABLE Film */ RETURN 1 AS x",
    "// CHECKPOINT\nRETURN 1 AS x",
    "RETURN 1 AS `DELETE`",
    "MATCH (`CREATE`:Film) RETURN `CREATE`.name AS x",
    "MATCH (f:Film) RETURN f.name AS `CALL dbms.killConnection('x')`",
    "MATCH (f:Film) WHERE f.name = 'TERMINATE TRANSACTIONS' RETURN f.name AS x",
    "MATCH (f:Film) WHERE f.name CONTAINS 'SET' OR f.name CONTAINS 'MERGE' RETURN count(f) AS x",
    "MATCH (f:Film) WHERE f.name IN ['COPY', 'EXPORT DATABASE', 'ATTACH'] RETURN f.id AS x",
    "RETURN 'it\\'s; DELETE' AS x",
    'RETURN "say \\"DROP\\"" AS x',
    "RETURN 'back`tick CREATE `' AS x",
    "RETURN '/* not a comment' AS x",
    "RETURN '// not a comment' AS x",
    "RETURN '((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((' AS x",
    "RETURN 'CALL apoc.load.json(\"http://x\")' AS x",
    "MATCH (set:Film) RETURN count(set) AS x".replace("set", "`set`"),
    "MATCH (f:Film) RETURN f.name AS created, f.release_year AS deleted",
    "WITH 'REMOVE' AS removed, 'MERGE' AS merged RETURN removed + merged AS x",
    "MATCH (f:Film)/* SET f.name = 'x' */-[:STARS]->(p:Person) RETURN count(p) AS x",
    "RETURN 'SHOW USERS' AS x UNION RETURN 'DROP DATABASE neo4j' AS x",
    "UNWIND ['CREATE', 'DELETE'] AS word RETURN word",
    "RETURN {`DETACH DELETE`: 1} AS x",
    "RETURN CASE WHEN 'FOREACH' = 'LOAD' THEN 'CREATE' ELSE 'none' END AS x",
    "MATCH (e:Entity) WHERE e.description = 'INSTALL httpfs' RETURN e.id AS x",
    "MATCH (f:Film) WHERE f.name STARTS WITH 'USE system' RETURN f.name AS x ORDER BY x LIMIT 5",
]

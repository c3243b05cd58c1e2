import pytest

from kg.errors import SchemaError
from kg.schema import parse_schema

GOOD = """
name = "films"
[entity.Film]
key = "release_year"
[entity.Person]
[relation.DIRECTED_BY]
domain = ["Film"]
range = ["Person"]
[relation.MARRIED_TO]
domain = ["Person"]
range = ["Person"]
symmetric = true
[property.release_year]
domain = ["Film"]
datatype = "integer"
[property.rating]
domain = ["Film"]
datatype = "number"
[property.born]
domain = ["Person"]
datatype = "date"
"""


def test_reads_what_is_written() -> None:
    schema = parse_schema(GOOD)
    assert schema.entities["Film"].key == "release_year"
    assert schema.symmetric == {"MARRIED_TO"}
    assert [prop.name for prop in schema.properties_of("Film")] == ["rating", "release_year"]


def test_facts_that_fit_and_facts_that_do_not() -> None:
    schema = parse_schema(GOOD)
    assert schema.why_not_relation("Film", "DIRECTED_BY", "Person") is None
    assert "starts at Film" in (schema.why_not_relation("Person", "DIRECTED_BY", "Person") or "")
    assert "ends at Person" in (schema.why_not_relation("Film", "DIRECTED_BY", "Film") or "")
    assert "did you mean 'DIRECTED_BY'" in (schema.why_not_relation("Film", "DIRECTD_BY", "Person") or "")
    assert schema.why_not_property("Film", "release_year", 1995) is None
    assert "of datatype integer" in (schema.why_not_property("Film", "release_year", "1995") or "")
    assert "of datatype integer" in (schema.why_not_property("Film", "release_year", True) or "")
    for beyond in (2**63, -(2**63) - 1):
        assert "of 64 bits" in (schema.why_not_property("Film", "release_year", beyond) or "")
        assert "of 64 bits" in (schema.why_not_property("Film", "rating", beyond) or "")
    for value in (float("nan"), float("inf"), float("-inf")):
        assert "finite" in (schema.why_not_property("Film", "rating", value) or "")
    for value in (2**63 - 1, -(2**63), 8.5):
        assert schema.why_not_property("Film", "rating", value) is None
    assert schema.why_not_property("Person", "born", "1930-03-24") is None
    assert "of datatype date" in (schema.why_not_property("Person", "born", "24 March") or "")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('domain = ["Film"]\nrange', 'domain = ["Flim"]\nrange', "no entity type (did you mean 'Film'?)."),
        ('range = ["Person"]\n[rel', "range = []\n[rel", "must list at least one"),
        ('key = "release_year"', 'key = "year"', "is no property of it"),
        ('datatype = "integer"', 'datatype = "int"', "is none of string"),
        ("[entity.Person]", "[entity.person]", "CamelCase"),
        ("[entity.Person]", "[entity.Person]\n[entity.Chunk]", "reserved"),
        ("[relation.DIRECTED_BY]", "[relation.`]`]", "not valid TOML"),
        ("[relation.DIRECTED_BY]", "[relation.directed]", "UPPER_CASE"),
        ("symmetric = true", 'symmetric = true\nqualifers = ["x"]', "(did you mean 'qualifiers'?)."),
        ("[entity.Film]", "[entities.Film]", "did you mean 'entity'"),
        ('range = ["Person"]\nsymmetric', 'range = ["Film"]\nsymmetric', "same domain and range"),
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(old: str, new: str, says: str) -> None:
    assert old in GOOD
    with pytest.raises(SchemaError) as refused:
        parse_schema(GOOD.replace(old, new), where="schema.toml")
    assert says in refused.value.message
    assert refused.value.message.startswith("schema.toml")

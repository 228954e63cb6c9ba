"""`python -m convspec.syntax`: write the tables beside the grammars anew."""

from convspec.resources import grammar_path
from convspec.syntax.tables import STARTS, serialized_tables

if __name__ == "__main__":
    for grammar in STARTS:
        grammar_path(f"{grammar}.json").write_text(serialized_tables(grammar), encoding="utf-8")

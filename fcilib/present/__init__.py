"""How results are shown: tables, figures, interactive pieces, the page of claims."""

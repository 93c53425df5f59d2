"""How results are shown: figures, tables, pieces that answer, the page of claims."""

"""How results are shown: figures, interactive pieces, the page of claims."""

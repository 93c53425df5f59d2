"""Files that are written whole or not at all, sealed records, and where both are kept."""

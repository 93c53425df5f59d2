"""Files that are written whole or not at all, sealed records and tensors, and where they are kept."""

"""Files that are written whole or not at all, sealed records, and the folders of both."""

"""FCI and its Council, how its answers are scored, and what is found inside it."""

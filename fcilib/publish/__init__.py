"""From chapters to executed notebooks to pages, and what is known of the last time."""

"""What models are made of: attention in its kinds, Mamba, feed-forward networks, blocks."""

"""Descriptions: frozen, strict and hashed, and the registry of their kinds."""

"""Readers of the graph and of the rules: each is a module of its own, imported by name, and needs extras of its own."""

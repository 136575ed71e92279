"""Derivations of a cost's gradients in the course's notation: as text, Markdown, LaTeX and HTML."""

"""What ops say of themselves: the first lines of their docstrings, as sentences of a derivation."""

from __future__ import annotations

import inspect
import re

from tinygrad_dls.graph.node import Node

__all__ = ["explanation", "said_of"]


def said_of(node: Node) -> str:
    """What an op says of itself."""
    return (inspect.getdoc(node.x.op) or node.op.replace("_", " ")).splitlines()[0]


def explanation(node: Node) -> str:
    """What an op's first line says behind its colon, as a sentence; nothing where that is a formula alone."""
    doc = said_of(node)
    masked = re.sub("``.*?``", lambda code: "`" * len(code[0]), doc)  # a colon within code is none
    _, _, behind = masked.partition(":")
    if len(re.findall(r"\w+", behind)) <= 3:  # commas between formulas are no words
        return ""
    return _sentence(doc[len(doc) - len(behind) :].strip(), set(inspect.signature(node.x.op).parameters))


def _sentence(text: str, names: set[str]) -> str:
    """A text with a capital at its first letter, unless it begins with code, or with a name, such as b or dW."""
    # an article is the one word of a single letter
    word = re.match(r"(?:[a-z]{2,}|a(?= (?!is |has )[a-z]{2}))(?![\w(\[=']|\.\w)", text)
    if word is None or word[0] in names or re.fullmatch("d[abd-np-z]", word[0]):  # dw and the like, but not "do"
        return text
    return text[0].upper() + text[1:]

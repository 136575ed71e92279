"""Pytest runs the code of README.md and of the pages in docs/: every result printed there is computed.

A page is one test, because its blocks share a namespace: what one block defines, the next may use.
"""

from __future__ import annotations

import doctest
from pathlib import Path
from unittest import mock

import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

from tinygrad_dls.engine import tensor
from tinygrad_dls.ir import functions

DOCS = Path(__file__).parent / "docs"
collect_ignore_glob = ["docs/hooks/*", "build/*"]  # hooks are run by mkdocs; build holds copies


class PyconCodeBlockParser(PythonCodeBlockParser):
    """Blocks of a Python session, with prompts."""

    @staticmethod
    def codeblock_parser_class(_language, evaluator):
        return CodeBlockParser("pycon", evaluator)


# Whitespace is normalised so that long error messages can be broken into lines.
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
PAGES = Sybil(parsers=[PythonCodeBlockParser(), PyconCodeBlockParser(doctest_optionflags=OPTIONS)])


class Page(pytest.File):
    def collect(self):
        yield PageCode.from_parent(self, name="code")


class PageCode(pytest.Item):
    def runtest(self):
        # An op that a page defines for a NumPy function is gone after it, and so is the function's row.
        tensor.implementation(print)  # loads all the rest, which is to stay
        with mock.patch.dict(tensor.implementations), mock.patch.dict(functions._ROWS):
            for example in PAGES.parse(self.path).examples():
                example.evaluate()

    def reportinfo(self):
        return self.path, None, f"code of {self.path.name}"


def pytest_collect_file(file_path: Path, parent: pytest.Collector):
    if file_path.suffix == ".md" and (DOCS in file_path.parents or file_path.name == "README.md"):
        return Page.from_parent(parent, path=file_path)
    return None

"""Runs the fast tests of the rollout decisions with one module's source changed: exit 0 when they did not notice.

python rollout_mutated.py <module> <old text> <new text> <tests>…
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import CodeType, ModuleType

import pytest


NOT_APPLIED = 99


class Changed(importlib.machinery.SourceFileLoader):
    old = new = ""

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path).decode()
        return compile(source.replace(self.old, self.new), self.path, "exec")


class Finder(MetaPathFinder):
    def __init__(self, module: str) -> None:
        self.module = module

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.origin is not None
        return importlib.util.spec_from_loader(fullname, Changed(fullname, spec.origin))


if __name__ == "__main__":
    name, Changed.old, Changed.new, *tests = sys.argv[1:]
    origin = importlib.util.find_spec(name)
    if origin is None or origin.origin is None or Path(origin.origin).read_text().count(Changed.old) != 1:
        sys.stderr.write(f"{name} does not have this text exactly once: {Changed.old}\n")
        sys.exit(NOT_APPLIED)
    sys.meta_path.insert(0, Finder(name))
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--no-header", "--tb=line"]
    sys.exit(pytest.main([*options, *tests]))

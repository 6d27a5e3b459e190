"""Runs the fast tests of the rollout decisions with one module's source changed, for each change given.

    python rollout_mutated.py <tests>…  <  [["<module>", "<old text>", "<new text>"], …]

Prints pytest's exit code of each as a JSON list; 99 where the old text does not stand there exactly once. Each runs in
a fork of this process, in which nothing of ours is loaded yet.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
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
    def __init__(self, module: str, loader: Changed) -> None:
        self.module, self.loader = module, loader

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(fullname, self.loader) if fullname == self.module else None


def run(module: str, old: str, new: str, tests: Sequence[str]) -> int:
    source = Path(__file__).parents[2].joinpath("src", *module.split(".")).with_suffix(".py")
    if source.read_text().count(old) != 1:
        return NOT_APPLIED
    loader = Changed(module, str(source))
    loader.old, loader.new = old, new
    sys.meta_path.insert(0, Finder(module, loader))
    sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - this fork ends right after
    options = ["-x", "-q", "-c", os.devnull, "--noconftest", "-p", "no:cacheprovider", "--tb=no"]
    return int(pytest.main([*options, *tests]))


def forked(module: str, old: str, new: str, tests: Sequence[str]) -> int:
    child = os.fork()
    if child == 0:
        os._exit(run(module, old, new, tests))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    # Plugins would cost more than the tests, and none of them is needed.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.path.insert(0, str(Path(__file__).parents[2] / "src"))
    sys.stdout.write(json.dumps([forked(*change, sys.argv[1:]) for change in json.load(sys.stdin)]))

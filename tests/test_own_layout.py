"""The tests mirror the package, and share code through tests/helpers alone."""

import ast
from pathlib import Path

import pytest
from runs import CHECKOUT

TESTS = CHECKOUT / 'tests'
MODULES = sorted(TESTS.rglob('*.py'))
NAMES = {path.stem for path in MODULES if path.name.startswith('test_')}


def imported(path: Path) -> set[str]:
    """Each part of each name that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found.update(part for alias in node.names for part in alias.name.split('.'))
        if isinstance(node, ast.ImportFrom):
            found.update((node.module or '').split('.'), (alias.name for alias in node.names))
    return found


def test_every_folder_has_its_package():
    folders = {path.parent.relative_to(TESTS) for path in MODULES} - {Path('helpers')}
    assert len(folders) > 10
    missing = [str(folder) for folder in folders if not (CHECKOUT / 'mmdynakd' / folder).is_dir()]
    assert missing == []


def test_helpers_hold_no_tests():
    assert list((TESTS / 'helpers').rglob('test_*.py')) == []


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_module_imports_a_test_module(path):
    assert imported(path) & (NAMES | {'tests', 'conftest'}) == set()

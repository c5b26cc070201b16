"""The examples in docstrings run, and every public class and function has one, but errors."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest
from mmengine.registry import DefaultScope

import mmdynakd

HOUSE = Path(mmdynakd.__file__).parent
SCRIPTS = {'__main__', 'evaluation.executors.slurm_task'}  # they run when they are imported
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL


def modules() -> list[str]:
    found = []
    for path in sorted(HOUSE.rglob('*.py')):
        name = '.'.join(path.relative_to(HOUSE).with_suffix('').parts).removesuffix('__init__')
        found.append(name.rstrip('.'))
    return [name for name in found if name not in SCRIPTS]


def public_definitions(name: str) -> list[ast.FunctionDef | ast.ClassDef]:
    path = HOUSE.joinpath(*name.split('.')) if name else HOUSE
    path = path / '__init__.py' if path.is_dir() else path.with_suffix('.py')
    body = ast.parse(path.read_text(encoding='utf-8')).body
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node for node in body if isinstance(node, kinds) and not node.name.startswith('_')]


@pytest.mark.parametrize('name', modules())
def test_examples_run(name, monkeypatch, tmp_path):
    (tmp_path / 'a file').touch()  # an empty folder looks like a file system that is away
    monkeypatch.chdir(tmp_path)
    DefaultScope._instance_dict.clear()  # as in a fresh interpreter
    module = importlib.import_module('.'.join(filter(None, ['mmdynakd', name])))
    failed, _ = doctest.testmod(module, optionflags=OPTIONS)
    assert failed == 0


def test_every_public_definition_has_an_example():
    missing = [
        f'{name}.{node.name}'
        for name in modules()
        for node in public_definitions(name)
        if 'Examples:' not in (ast.get_docstring(node) or '') and not node.name.endswith('Error')
    ]
    assert missing == []

"""Only mmdynakd/compat knows private names of other packages."""

import ast
import functools
import importlib
import inspect
import re
from pathlib import Path

import pytest

import mmdynakd

HOUSE = Path(mmdynakd.__file__).parent
PRIVATE = re.compile(r'_(?!_)\w*(?<!_)')  # one underscore before it and none after: not `_base_`
ASKING = {'getattr', 'setattr', 'hasattr', 'delattr', '__setattr__', 'attrgetter', 'methodcaller'}
# Private methods of a base class that are overridden, and private attributes of one that are used,
# because the class offers no other way. Keep it short.
UNAVOIDABLE = {
    ('CheckpointHook', '_save_checkpoint_with_step'): 'MMEngine removes the outdated file first',
    ('DynaKD', '_apply'): 'torch calls it for .to(), .half() …; the teachers must follow',
    ('DynaKD', '_set_device'): 'MMEngine calls it for .to(); the teachers must follow',
    ('DynaKD', '_ddp_params_and_buffers_to_ignore'): "DDP's only way to leave a parameter alone",
    ('DynaKD', '_modules'): 'asked for before __init__ has run, where getattr would recurse',
}
DOCUMENTED = {'_exit'}  # os._exit, public in spite of its name


def files():
    found = [path.relative_to(HOUSE) for path in sorted(HOUSE.rglob('*.py'))]
    return [path for path in found if path.parts[0] != 'compat']


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse((HOUSE / path).read_text(encoding='utf-8'))


def is_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ('self', 'cls')


def defined(module: ast.Module) -> set[str]:
    """Names that a file defines: functions, class attributes, attributes of self, variables."""
    found = set()
    for node in ast.walk(module):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found |= {node.attr} if is_own(node.value) else set()
    return found


def imports(node: ast.AST) -> list[str]:
    """Private parts of what a statement imports from another package."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.level == 0:
        names = [f'{node.module}.{alias.name}' for alias in node.names]
    else:
        return []
    others = [name for name in names if name.split('.')[0] != 'mmdynakd']
    return [name for name in others if any(map(PRIVATE.fullmatch, name.split('.')))]


def attributes(node: ast.AST, own: set[str], of_package: set[str]) -> list[str]:
    """A private attribute that is used, unless this file or, on self, this package has it."""
    if not isinstance(node, ast.Attribute) or not PRIVATE.fullmatch(node.attr):
        return []
    known = of_package if is_own(node.value) else own
    return [] if node.attr in known | DOCUMENTED else [ast.unparse(node)]


def strings(node: ast.AST) -> list[str]:
    """A private name that is asked for by a string."""
    if isinstance(node, ast.Call):
        name = getattr(node.func, 'attr', getattr(node.func, 'id', None))
        asked = node.args if name in ASKING else []
    elif isinstance(node, ast.Subscript):
        asked = [node.slice]
    else:
        asked = []
    texts = [one.value for one in asked if isinstance(one, ast.Constant)]
    return [text for text in texts if isinstance(text, str) and PRIVATE.fullmatch(text)]


def private_names(module: ast.Module, of_package: set[str]) -> list[str]:
    own = defined(module)
    return [
        name
        for node in ast.walk(module)
        for name in imports(node) + attributes(node, own, of_package) + strings(node)
    ]


@pytest.mark.parametrize(
    'line',
    [
        'import torch._utils',
        'from torch.nn.modules.conv import _ConvNd',
        'from torch.utils._python_dispatch import TorchDispatchMode',
        'runner._resume',
        'runner._resume = True',
        'class A:\n    def run(self):\n        self._iter',
        'class A(B):\n    def to(self):\n        super()._apply()',
        "getattr(runner, '_resume')",
        "object.__setattr__(cfg, '_text', 1)",
        "vars(runner)['_resume']",
    ],
)
def test_a_private_name_of_another_package_is_seen(line):
    assert len(private_names(ast.parse(line), set())) == 1


@pytest.mark.parametrize(
    'line',
    [
        'import os\nos._exit(0)',
        'class A:\n    def __init__(self, other):\n        self._x = other._x',
        "getattr(module, '__name__')",
        "cfg['_base_']",
        'from mmdynakd.files import _text',
    ],
)
def test_an_own_or_a_public_name_is_not(line):
    module = ast.parse(line)
    assert private_names(module, defined(module)) == []


@functools.cache
def own_names() -> set[str]:
    """Names that any file of the package defines."""
    return set().union(*(defined(tree(path)) for path in files()))


@pytest.mark.parametrize('path', files(), ids=str)
def test_only_compat_reads_private_names(path):
    allowed = {name for _, name in UNAVOIDABLE}
    found = private_names(tree(path), own_names() - allowed)
    assert [name for name in found if name.split('.')[-1] not in allowed] == []


def overridden() -> set[tuple[str, str]]:
    """Private names that classes of this package define though a foreign base has them."""
    found = set()
    for path in files():
        if path.stem == '__main__':
            continue
        name = '.'.join(['mmdynakd', *path.with_suffix('').parts]).removesuffix('.__init__')
        written = defined(tree(path))  # by hand, rather than by Python for an abstract class
        for cls in vars(importlib.import_module(name)).values():
            if inspect.isclass(cls) and cls.__module__ == name:
                bases = [base for base in cls.__mro__ if not base.__module__.startswith('mmdynakd')]
                foreign = {attribute for base in bases for attribute in vars(base)}
                private = {key for key in vars(cls) if PRIVATE.fullmatch(key)}
                found |= {(cls.__name__, key) for key in private & foreign & written}
    return found


def test_no_private_method_is_overridden_that_the_table_does_not_explain():
    assert overridden() - set(UNAVOIDABLE) == set()


def test_the_table_names_nothing_that_is_gone():
    words = {path: (HOUSE / path).read_text(encoding='utf-8') for path in files()}
    for cls, name in UNAVOIDABLE:
        assert any(f'class {cls}(' in text and name in text for text in words.values()), (cls, name)
    assert len(UNAVOIDABLE) <= 5

"""The rooms of the house: who imports whom, how large each is, what each says of itself."""

import ast
from pathlib import Path

import pytest

import mmdynakd

HOUSE = Path(mmdynakd.__file__).parent
# From the top floor down; docs/design.md draws it. A room imports from rooms below it only.
FLOORS = [
    ('cli',),
    ('study', 'engine'),
    ('evaluation',),
    ('launch',),
    ('diagnostics',),
    ('workdir', 'export'),
    ('models',),
    ('report', 'datasets'),
    ('values',),
    ('functional',),
    ('compat',),
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
LARGEST = 1600  # lines of Python in one folder, its subfolders apart


def source_files():
    return sorted(HOUSE.rglob('*.py'))


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a file imports from, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f'{node.module}.{alias.name}' for alias in node.names]
        parts = [name.split('.') for name in names]
        found |= {part[1] for part in parts if part[0] == 'mmdynakd' and len(part) > 1}
    return found & set(FLOOR)


def test_every_folder_is_a_room_of_the_plan():
    folders = {path.parent.name for path in HOUSE.glob('*/__init__.py')}
    assert folders == set(FLOOR)


@pytest.mark.parametrize('room', FLOOR)
def test_a_room_imports_only_from_below(room):
    for path in sorted((HOUSE / room).rglob('*.py')):
        upwards = [other for other in imported_rooms(path) - {room} if FLOOR[other] <= FLOOR[room]]
        assert upwards == [], f'{path.relative_to(HOUSE)} imports from {upwards}'


def test_the_ground_imports_no_room_but_the_lowest():
    for path in HOUSE.glob('*.py'):
        if path.name not in ('__init__.py', '__main__.py'):
            assert imported_rooms(path) <= {'compat', 'functional'}, path.name


def test_each_folder_says_what_belongs_in_it():
    for path in HOUSE.rglob('__init__.py'):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding='utf-8')))
        assert doc, path.relative_to(HOUSE)
        assert doc.splitlines()[0].endswith('.'), path.relative_to(HOUSE)


def test_no_room_is_too_large():
    sizes = {}
    for path in source_files():
        folder = str(path.parent.relative_to(HOUSE))
        sizes[folder] = sizes.get(folder, 0) + len(path.read_text(encoding='utf-8').splitlines())
    assert {folder: size for folder, size in sizes.items() if size > LARGEST} == {}

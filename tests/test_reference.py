"""The reference page that `make reference` writes from the docstrings."""

import runpy

import pytest
from runs import CHECKOUT


@pytest.fixture(scope='module')
def made() -> str:
    pytest.importorskip(
        'griffe', reason='the reference is written with griffelib (requirements/dev.in)'
    )
    return runpy.run_path(str(CHECKOUT / 'docs' / 'make_reference.py'))['page']()


def test_an_entry_has_signature_text_arguments_and_an_example(made):
    entry = made.split('\n#### nearest\n')[1].split('\n#### ')[0]
    assert (
        'nearest(wrong: object, known: Iterable[str], cutoff: float = 0.6) -> str | None' in entry
    )
    assert '- `wrong`: what was given.' in entry
    assert ">>> nearest('Serach', ['search', 'evaluate'])" in entry


def test_every_room_is_a_chapter_and_markup_is_that_of_markdown(made):
    rooms = [path.parent.name for path in (CHECKOUT / 'mmdynakd').glob('*/__init__.py')]
    assert all(f'\n## {room}\n' in made for room in rooms)
    assert [word for word in (':func:', ':class:', ':meth:', ':attr:') if word in made] == []

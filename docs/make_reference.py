"""Writes docs/reference.md from the docstrings: ``python docs/make_reference.py``.

The source is read, not imported, so this takes seconds and needs neither torch nor a GPU.
"""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import griffe

CHECKOUT = Path(__file__).resolve().parents[1]
PAGE = CHECKOUT / 'docs' / 'reference.md'
HEAD = """# Reference

Every public class and function, by room and file. Written by `make reference` from the
docstrings; the tests run the examples.
"""
ROLE = re.compile(r':[a-z]+:`+~?([^`]+?)`+')
WIDTH = 88  # of a signature on one line


def page() -> str:
    """The whole page."""
    logging.getLogger('griffe').setLevel(logging.ERROR)
    package = griffe.load(
        'mmdynakd', search_paths=[CHECKOUT], docstring_parser='google', allow_inspection=False
    )
    rooms = sorted(name for name, module in package.modules.items() if module.is_subpackage)
    ground = sorted(set(package.modules) - set(rooms) - {'__main__'})
    contents = [f'- [{room}](#{room}): {first_line(package[room])}' for room in rooms]
    parts = [HEAD, '\n'.join([*contents, '- [ground](#ground): what every room stands on.'])]
    for room in rooms:
        parts += [f'## {room}', text_of(package[room])]
        for module in files(package[room]):
            parts += described(module)
    parts += ['## ground', 'Single files that every room may import.']
    for name in ground:
        parts += described(package[name])
    return '\n\n'.join(part.strip() for part in parts if part.strip()) + '\n'


def files(module: griffe.Module) -> Iterator[griffe.Module]:
    """A room's own files, then those of the rooms in it."""
    yield module
    for name in sorted(module.modules):
        yield from files(module.modules[name])


def described(module: griffe.Module) -> list[str]:
    """What the page says of one file; nothing if it defines nothing public."""
    members = list(public(module))
    if not members:
        return []
    parts = [f'### {module.path.removeprefix("mmdynakd.")}', text_of(module)]
    for member in members:
        parts += [f'#### {member.name}', signature(member), *sections(member)]
        methods = [found for found in public(member) if isinstance(found, griffe.Function)]
        parts.append('\n'.join(method_line(method) for method in methods))
    return parts


def public(parent: griffe.Object) -> Iterator[griffe.Class | griffe.Function]:
    """The public classes and functions that are defined here, in the order of the file."""
    for name, member in parent.members.items():
        kinds = (griffe.Class, griffe.Function)
        if isinstance(member, kinds) and not name.startswith('_') and member.docstring:
            yield member


def signature(member: griffe.Class | griffe.Function) -> str:
    """The line that one calls, as code; broken after each argument if it is long."""
    words = list(arguments(member))
    returns = f' -> {member.returns}' if getattr(member, 'returns', None) else ''
    line = f'{member.name}({", ".join(words)}){returns}'
    if isinstance(member, griffe.Class) and not words:
        line = member.name
    if len(line) > WIDTH:
        listed = ''.join(f'    {word},\n' for word in words)
        line = f'{member.name}(\n{listed}){returns}'
    return f'```python\n{"class " if member.is_class else ""}{line}\n```'


def arguments(member: griffe.Class | griffe.Function) -> Iterator[str]:
    """Each argument as it stands in the source, without ``self``."""
    starred = False
    for argument in member.parameters:
        if argument.name in ('self', 'cls'):
            continue
        if argument.kind is griffe.ParameterKind.keyword_only and not starred:
            starred = True
            yield '*'
        starred |= argument.kind is griffe.ParameterKind.var_positional
        stars = {'variadic positional': '*', 'variadic keyword': '**'}.get(argument.kind.value, '')
        kind = f': {argument.annotation}' if argument.annotation else ''
        value = f' = {argument.default}' if argument.default and not stars else ''
        yield f'{stars}{argument.name}{kind}{value}'


def sections(member: griffe.Class | griffe.Function) -> Iterator[str]:
    """The parts of a docstring as Markdown."""
    titles = {'parameters': 'Args', 'other parameters': 'Args'}
    for section in member.docstring.parsed if member.docstring else []:
        kind = section.kind.value
        if kind == 'text':
            yield plain(section.value)
        elif kind == 'examples':
            yield from (example(*part) for part in section.value)
        elif kind in ('returns', 'yields'):
            said = ' '.join(flat(entry.description) for entry in section.value)
            yield f'**{kind.capitalize()}:** {said}'
        elif kind in ('parameters', 'other parameters', 'attributes', 'raises'):
            lines = [f'**{titles.get(kind, kind.capitalize())}:**\n']
            for entry in section.value:
                name = entry.annotation if kind == 'raises' else entry.name
                lines.append(f'- `{name}`: {flat(entry.description)}')
            yield '\n'.join(lines)


def example(kind: griffe.DocstringSectionKind, text: str) -> str:
    """A part of an ``Examples:`` block: prose, or what one types with what comes back."""
    text = text.strip('\n')
    if kind is not griffe.DocstringSectionKind.examples:
        return plain(text)
    return '```pycon\n' + re.sub(r' +# doctest:.*', '', text) + '\n```'


def method_line(method: griffe.Function) -> str:
    """A method in one line: what one calls, and the first line of its docstring."""
    return f'- `{method.name}({", ".join(arguments(method))})`: {first_line(method)}'


def first_line(documented: griffe.Object) -> str:
    """The first line of a docstring."""
    return text_of(documented).partition('\n')[0]


def text_of(documented: griffe.Object) -> str:
    """A docstring's text as Markdown."""
    return plain(documented.docstring.value) if documented.docstring else ''


def flat(text: str) -> str:
    """A text on one line."""
    return ' '.join(plain(text).split())


def plain(text: str) -> str:
    """Markdown in place of Sphinx's roles and double quotes."""
    named = ROLE.sub(lambda found: f'`{found[1].rpartition(".")[2]}`', text)
    return named.replace('``', '`')


if __name__ == '__main__':
    PAGE.write_text(page(), encoding='utf-8')
    print(f'wrote {PAGE}')

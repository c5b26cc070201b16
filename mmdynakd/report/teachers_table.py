"""The table of the teachers' check."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from mmdynakd.values import CheckedTeacher, TeacherReport


class _Column(NamedTuple):
    title: str
    value: Callable[[CheckedTeacher], float | None]
    form: str

    def cell(self, teacher: CheckedTeacher) -> str:
        value = self.value(teacher)
        return '–' if value is None else self.form.format(value)


def _millions(count: int | None) -> float | None:
    return None if count is None else count / 1e6


COLUMNS = (
    _Column('val', lambda teacher: teacher.val, '{:.2f}'),
    _Column('test', lambda teacher: teacher.test, '{:.2f}'),
    _Column('published', lambda teacher: teacher.published, '{:.2f}'),
    _Column('confidence', lambda teacher: teacher.confidence, '{:.2f}'),
    _Column('ECE', lambda teacher: teacher.ece, '{:.2f}'),
    _Column('parameters (M)', lambda teacher: _millions(teacher.parameters), '{:.3f}'),
    _Column('multiply-adds (M)', lambda teacher: _millions(teacher.multiply_adds), '{:.2f}'),
    _Column('images/s', lambda teacher: teacher.images_per_second, '{:.0f}'),
)


def teachers_table(report: TeacherReport) -> str:
    """Makes the Markdown text of a teachers' check: accuracies and cost, agreement, warnings.

    Columns that no teacher has a number for are left out.

    Examples:
        >>> teacher = CheckedTeacher(
        ...     name='a', val=71.2, confidence=80.1, ece=9.0, images_per_second=100.0
        ... )
        >>> report = TeacherReport(
        ...     samples=dict(val=50), teachers=(teacher,), agreement=dict(a=dict(a=1.0))
        ... )
        >>> print(teachers_table(report).splitlines()[2])
        | a       | 71.20 |      80.10 | 9.00 |      100 |
    """
    rows, names = report.teachers, [teacher.name for teacher in report.teachers]
    columns = [
        column for column in COLUMNS if any(column.value(teacher) is not None for teacher in rows)
    ]
    sizes = ', '.join(f'{size} {split}' for split, size in report.samples.items())
    lines = [
        *_table(
            ['teacher', *(column.title for column in columns)],
            ([teacher.name, *(column.cell(teacher) for column in columns)] for teacher in rows),
        ),
        '',
        f'Accuracy, confidence and ECE (15 bins, on val) in per cent; {sizes} images;',
        'one multiply-add is one; images/s on this machine, preprocessing included.',
        '',
        *_table(
            ['same prediction on val', *names],
            ([a, *(f'{report.agreement[a][b]:.3f}' for b in names)] for a in names),
        ),
        '',
        *(f'WARNING {text}' for text in report.warnings),
    ]
    return '\n'.join(lines).rstrip() + '\n'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table: names aligned to the left, numbers to the right."""
    rows = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    cells = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    rule = ['-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])]
    return ['| ' + ' | '.join(row) + ' |' for row in (cells[0], rule, *cells[1:])]

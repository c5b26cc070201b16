"""The report on the teachers, for reading."""


def _millions(key: str):
    return lambda row: None if row[key] is None else row[key] / 1e6


COLUMNS = (
    ('val', lambda row: row['val'], '{:.2f}'),
    ('test', lambda row: row['test'], '{:.2f}'),
    ('published', lambda row: row['published'], '{:.2f}'),
    ('confidence', lambda row: row['confidence'], '{:.2f}'),
    ('ECE', lambda row: row['ece'], '{:.2f}'),
    ('parameters (M)', _millions('parameters'), '{:.3f}'),
    ('multiply-adds (M)', _millions('multiply_adds'), '{:.2f}'),
    ('images/s', lambda row: row['images_per_second'], '{:.0f}'),
)


def teachers_table(report: dict) -> str:
    """Markdown of what :func:`check_teachers` returns: a row a teacher, the agreement, the
    warnings.
    """
    rows, names = report['teachers'], [row['name'] for row in report['teachers']]
    columns = [column for column in COLUMNS if any(column[1](row) is not None for row in rows)]
    lines = _table(
        [
            ['teacher', *(title for title, _, _ in columns)],
            *(
                [
                    row['name'],
                    *(
                        '–' if get(row) is None else form.format(get(row))
                        for _, get, form in columns
                    ),
                ]
                for row in rows
            ),
        ]
    )
    sizes = ', '.join(f'{size} {split}' for split, size in report['samples'].items())
    lines += [
        '',
        f'Accuracy, confidence and ECE (15 bins, on val) in per cent; {sizes} images;',
        'one multiply-add is one; images/s on this machine, preprocessing included.',
        '',
    ]
    lines += _table(
        [
            ['same prediction on val', *names],
            *(
                [first, *(f'{report["agreement"][first][second]:.3f}' for second in names)]
                for first in names
            ),
        ]
    )
    lines += ['', *(f'WARNING {text}' for text in report['warnings'])]
    return '\n'.join(lines).rstrip() + '\n'


def _table(rows: list[list[str]]) -> list[str]:
    """The lines of a table whose first row is the head; names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    cells = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    rule = ['-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])]
    return ['| ' + ' | '.join(row) + ' |' for row in (cells[0], rule, *cells[1:])]

"""Makes tables and figures again from the files of a run or of a study.

    mmdynakd report WORK_DIR

It reads results.json, candidates.json, theta.csv and teachers.json, and the results of a study's
seeds. Nothing is trained or measured.
"""

import argparse

from .arguments import add_debug


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``mmdynakd report``.

    Examples:
        >>> parser = argparse.ArgumentParser()
        >>> add_arguments(parser)
        >>> parser.parse_args(['work']).work_dir
        'work'
    """
    parser.add_argument('work_dir', help='of a run or of a study')
    add_debug(parser)


def run(args: argparse.Namespace) -> None:
    """Writes them, prints the tables, and says where everything is.

    Examples:
        >>> from mmdynakd.cli.main import parse
        >>> run(parse(['report', 'work_dirs/demo/dynakd']))  # doctest: +SKIP
    """
    from mmdynakd.study.report_again import report_again

    written = report_again(args.work_dir)
    for path in written:
        if path.endswith('.md'):
            with open(path, encoding='utf-8') as file:
                print(file.read())
    print('\n'.join(written))

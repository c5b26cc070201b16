"""The version matrix: the quick tests on the oldest and newest torch, and on the other flavour of
the mm packages.

Needs the interpreters named below on PATH; a missing one is an error. One stack: ``nox -s
"core(oldest)"``."""

import nox

nox.options.default_venv_backend = 'uv'
nox.options.error_on_missing_interpreters = True

STACKS = [
    # NumPy 2 came after torch 2.0, which cannot talk to it.
    nox.param('3.10', 'openmmlab', ['torch==2.0.1', 'torchvision==0.15.2', 'numpy<2'], id='oldest'),
    nox.param('3.13', 'openmmlab', ['torch==2.15.0', 'torchvision==0.29.2'], id='newest'),
    nox.param('3.12', 'onedl', ['torch==2.11.0', 'torchvision==0.26.0'], id='onedl'),
]


@nox.session
@nox.parametrize('python, flavour, pins', STACKS)
def core(session: nox.Session, flavour: str, pins: list[str]) -> None:
    """Install one stack by the package's own extras and run all but the slow tests (or what is
    given after --).
    """
    session.install('--editable', f'.[{flavour}]', 'pytest', 'pytest-xdist', 'hypothesis', *pins)
    session.run(
        'python',
        '-m',
        'pytest',
        '--numprocesses',
        'auto',
        '--dist',
        'loadfile',
        '--no-loadscope-reorder',
        '-m',
        'not slow',
        *(session.posargs or ['tests/']),
    )

"""The wheel, installed: configs, tools and the command come along, and MIM finds them."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from runs import CHECKOUT

pytestmark = pytest.mark.slow
LEFT_OUT = shutil.ignore_patterns(
    '.git', '.venv', '.nox', '__pycache__', '.*_cache', 'build', 'data', 'work_dirs', '*.egg-info'
)
SHORT = ['--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.batch_size=256']
TEACHERS = ('resnet20', 'resnet14', 'resnet8')


def done(command: list[object], folder: Path) -> str:
    """Runs a command far from the checkout; its stdout."""
    own = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    ended = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**own, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    return ended.stdout


@pytest.fixture(scope='module')
def source(tmp_path_factory) -> Path:
    """A copy of the checkout, which building leaves its traces in."""
    return shutil.copytree(
        CHECKOUT, tmp_path_factory.mktemp('source') / 'mmdynakd', symlinks=True, ignore=LEFT_OUT
    )


@pytest.fixture(scope='module')
def wheel(source) -> Path:
    pip = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation']
    done([*pip, '--wheel-dir', source / 'dist', source], source)
    (path,) = (source / 'dist').glob('mmdynakd-*.whl')
    return path


def environment(folder: Path, *words: object) -> Path:
    """The ``bin`` of a new environment, after ``pip install``; its dependencies are ours."""
    venv.create(folder, with_pip=False)
    ours = [path for path in sys.path if path.endswith(('site-packages', 'dist-packages'))]
    (packages,) = folder.glob('lib/python*/site-packages')
    (packages / 'dependencies.pth').write_text('\n'.join(ours))
    pip = [sys.executable, '-m', 'pip', '--python', folder / 'bin' / 'python', 'install', '--quiet']
    done([*pip, '--no-deps', '--no-build-isolation', *words], folder)
    return folder / 'bin'


def home(binaries: Path) -> Path:
    """The folder that an environment imports mmdynakd from."""
    code = 'import mmdynakd; print(mmdynakd.__file__)'
    return Path(done([binaries / 'python', '-c', code], binaries).strip()).parents[1]


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory) -> Path:
    """The ``bin`` of an environment with the wheel."""
    folder = tmp_path_factory.mktemp('installed')
    binaries = environment(folder, wheel)
    assert home(binaries).relative_to(folder).parts[0] == 'lib'
    return binaries


@pytest.fixture(scope='module')
def demo(installed, tmp_path_factory) -> Path:
    """A folder that was empty, after ``mmdynakd demo``."""
    folder = tmp_path_factory.mktemp('demo')
    said = done([installed / 'mmdynakd', 'demo', *SHORT], folder)
    assert 'Everything is in work_dirs/demo/dynakd' in said
    return folder


def test_the_wheel_holds_all_that_the_checkout_has(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f'mmdynakd/.mim/{path.relative_to(CHECKOUT).as_posix()}'
        for folder in ('configs', 'tools')
        for path in (CHECKOUT / folder).rglob('*')
        if path.suffix in ('.py', '.sh')
    }
    assert len(expected) > 70
    assert expected | {'mmdynakd/.mim/model-index.yml', 'mmdynakd/py.typed'} <= names
    assert not [name for name in names if name.startswith(('tests/', 'benchmarks/', 'configs/'))]


def test_a_source_distribution_makes_the_same_wheel(source, wheel, tmp_path):
    code = f'from setuptools import build_meta; print(build_meta.build_sdist({str(tmp_path)!r}))'
    name = done([sys.executable, '-c', code], source).splitlines()[-1]
    with tarfile.open(tmp_path / name) as archive:
        archive.extractall(tmp_path, filter='data')
    pip = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation']
    done([*pip, '--wheel-dir', tmp_path, tmp_path / name.removesuffix('.tar.gz')], tmp_path)
    (again,) = tmp_path.glob('mmdynakd-*.whl')
    assert zipfile.ZipFile(again).namelist() == zipfile.ZipFile(wheel).namelist()


def test_the_demo_runs_from_an_empty_folder(demo):
    assert [path.name for path in demo.iterdir()] == ['work_dirs']
    results = json.loads((demo / 'work_dirs/demo/dynakd/results.json').read_text())
    assert results['teachers'] == list(TEACHERS)
    assert results['epochs'] == 1
    assert (demo / 'work_dirs/demo/dynakd/student.pth').is_file()


def test_a_shipped_config_trains_by_name(demo, installed):
    done([installed / 'mmdynakd', 'train', 'teachers/resnet8_digits.py', *SHORT], demo)
    assert (demo / 'work_dirs/resnet8_digits/epoch_1.pth').is_file()


def test_mim_lists_and_trains_the_configs(demo, installed):
    mim = [installed / 'python', '-m', 'mim']
    assert 'configs/dynakd_digits.py' in done([*mim, 'search', 'mmdynakd'], demo)
    checkpoints = [
        f'model.teachers.{name}.checkpoint=work_dirs/demo/{name}/epoch_1.pth' for name in TEACHERS
    ]
    train = [*mim, 'train', 'mmdynakd', 'dynakd_digits.py', '--gpus', '0', '--work-dir', 'by_mim']
    said = done([*train, *SHORT, *checkpoints], demo)
    assert 'Training finished successfully' in said
    assert (demo / 'by_mim' / 'student.pth').is_file()


def test_an_editable_install_finds_the_configs_too(source, tmp_path):
    binaries = environment(tmp_path / 'editable', '--editable', source)
    assert home(binaries) == source
    assert done([binaries / 'mmdynakd', '--version'], tmp_path).startswith('mmdynakd ')
    code = 'from mmdynakd.launch.config import find_config; print(find_config("dynakd_digits.py"))'
    found = done([binaries / 'python', '-c', code], tmp_path).splitlines()[-1]
    assert found == str(source / 'configs' / 'dynakd_digits.py')

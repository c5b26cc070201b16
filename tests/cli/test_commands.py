"""The command line: what it takes, what it says, and that help costs nothing."""

import json
import re
import shlex
import subprocess
import sys

import pytest
from runs import CHECKOUT

from mmdynakd.cli.main import COMMANDS, parse
from mmdynakd.errors import UserError
from mmdynakd.launch.config import configs_folder, find_config, load_config, parse_options
from tools import call

HELPS = [['--help'], *([name, '--help'] for name in COMMANDS)]
HELPS += [['check', kind, '--help'] for kind in ('teachers', 'determinism')]
# Loaded by no command line that only asks for help.
HEAVY = {'torch', 'numpy', 'mmengine', 'mmcv', 'mmpretrain', 'mmrazor', 'scipy', 'sklearn', 'ray'}
SCRIPTS = {
    'train': ['train'],
    'evaluate_candidates': ['evaluate'],
    'benchmark': ['study'],
    'test': ['test'],
    'check_teachers': ['check', 'teachers'],
    'check_determinism': ['check', 'determinism'],
    'demo': ['demo'],
}
SHIPPED = sorted(
    path.relative_to(CHECKOUT / 'configs').as_posix()
    for path in (CHECKOUT / 'configs').rglob('*.py')
    if '_base_' not in path.parts
)


def python(*words: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *words],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_help_of_every_command_imports_nothing_heavy():
    code = f"""
import contextlib, io, json, sys
from mmdynakd.cli.main import main
said = {{}}
for words in {HELPS!r}:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main(words)
    said[' '.join(words)] = out.getvalue()
print(json.dumps([said, sorted(set(sys.modules) & {HEAVY!r})]))
"""
    ended = python('-c', code)
    assert ended.returncode == 0, ended.stderr
    said, heavy = json.loads(ended.stdout)
    assert heavy == []
    assert all(text.startswith(f'usage: mmdynakd {w[:-6]}'.rstrip()) for w, text in said.items())
    assert all(name in said['--help'] for name in COMMANDS)


def test_python_m_is_the_same_command():
    ended = python('-m', 'mmdynakd', '--version')
    assert ended.returncode == 0
    assert ended.stdout.startswith('mmdynakd ')


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_script_of_tools_is_a_caller_of_its_command(script, capsys):
    path = CHECKOUT / 'tools' / f'{script}.py'
    assert len(path.read_text(encoding='utf-8').splitlines()) <= 6
    assert call(script, '--help') == (0, '')
    assert capsys.readouterr().out.startswith(f'usage: mmdynakd {" ".join(SCRIPTS[script])} [-h]')


def test_the_command_can_be_given_again():
    words = ['evaluate', 'my work', '--executor', 'slurm', '--', '--time=1:00']
    args = parse(words)
    assert args.command == "mmdynakd evaluate 'my work' --executor slurm -- --time=1:00"
    assert parse(['demo']).command == 'mmdynakd demo'


def test_words_after_two_dashes_are_for_slurm_only(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(['train', 'a.py', '--', '--time=1:00'])
    assert ended.value.code == 2
    assert 'unrecognized arguments: -- --time=1:00' in capsys.readouterr().err


def test_options_given_twice_add_up():
    args = parse(['train', 'a.py', '--cfg-options', 'x=1', 'y.z=a', '--cfg-options', 'x=[2,3]'])
    assert parse_options(args.cfg_options) == {'x': [2, 3], 'y.z': 'a'}


def test_an_option_without_a_value_is_an_error():
    with pytest.raises(UserError, match=r"--cfg-options takes KEY=VALUE …, got 'fast'"):
        parse_options(['x=1', 'fast'])


def test_the_commands_in_the_docs_are_commands():
    found = []
    for page in [CHECKOUT / 'README.md', *sorted((CHECKOUT / 'docs').glob('*.md'))]:
        text = page.read_text(encoding='utf-8').replace('\\\n', ' ')
        for block in re.findall(r'^```bash\n(.*?)^```', text, flags=re.M | re.S):
            found += [line for line in block.splitlines() if line.startswith('mmdynakd ')]
    for line in [line for line in found if '[' not in line and '--help' not in line]:
        words = re.sub(r'(\S+)\{(\w+),(\w+)\}', r'\1\2 \1\3', line)  # a shell's braces
        assert parse(shlex.split(words, comments=True)[1:]).command, line
    assert len(found) >= 15


# --- configs by name ------------------------------------------------------------------------------


@pytest.mark.parametrize('name', SHIPPED)
def test_a_shipped_config_is_found_by_name_from_anywhere(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    expected = str((CHECKOUT / 'configs' / name).resolve())
    assert find_config(name) == find_config(f'configs/{name}') == expected


def test_a_file_goes_before_a_shipped_config_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'dynakd_digits.py').write_text('x = 1\n')
    assert find_config('dynakd_digits.py') == 'dynakd_digits.py'
    assert load_config(str(configs_folder() / 'dynakd_digits.py')).train_cfg.max_epochs == 15


def test_a_wrong_name_says_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = r"there is no config file teachers/resnet20_digit\.py \(did you mean 'teachers/resnet2"
    with pytest.raises(UserError, match=words):
        find_config('teachers/resnet20_digit.py')
    with pytest.raises(UserError, match=r'there is no config file _base_/runtime\.py'):
        find_config('_base_/runtime.py')


def test_the_work_dir_is_named_after_the_config_unless_one_is_given(tmp_path):
    assert load_config('compose/kd_r56_cifar100.py').work_dir == 'work_dirs/kd_r56_cifar100'
    assert load_config('dynakd_digits.py', work_dir=str(tmp_path)).work_dir == str(tmp_path)


def test_the_model_index_lists_every_config_and_nothing_that_is_not_there():
    import yaml

    index = yaml.safe_load((CHECKOUT / 'model-index.yml').read_text(encoding='utf-8'))
    assert sorted(model['Config'] for model in index['Models']) == [f'configs/{n}' for n in SHIPPED]
    collections = {collection['Name'] for collection in index['Collections']}
    assert all(model['In Collection'] in collections for model in index['Models'])
    assert all(model['Config'].endswith(f'/{model["Name"]}.py') for model in index['Models'])
    # MIM finds a config by its file's name only
    assert len({model['Name'] for model in index['Models']}) == len(SHIPPED)

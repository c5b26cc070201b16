"""What a work dir says of its run, and what the same command then does."""

import errno
import os
import random
import re
import signal
from pathlib import Path
from unittest import mock

import pytest
import torch
from mmengine.config import Config
from resumed import by_epoch
from runs import quick, read

from mmdynakd import files
from mmdynakd.diagnostics import determinism
from mmdynakd.launch.run import train
from mmdynakd.workdir import checkpoints, identity, locks, runs
from mmdynakd.workdir.identity import versions
from mmdynakd.workdir.runs import RunError, begin, finish, read_run


@pytest.fixture
def cfg(tmp_path) -> Config:
    loader = dict(batch_size=16, dataset=dict(type='X'))
    return Config(
        dict(
            model=dict(teachers=dict(strong=1, middle=2, alpha=3)),
            lr=0.1,
            train_dataloader=loader,
            train_cfg=dict(upper_dataloader=loader, max_epochs=3),
            work_dir=str(tmp_path / 'work'),
        )
    )


@pytest.fixture(autouse=True)
def unlocked():
    yield
    locks.unlock_all()


def save(cfg, name: str, size: int = 1000) -> Path:
    path = Path(cfg.work_dir) / name
    path.parent.mkdir(exist_ok=True)
    torch.manual_seed(0)
    torch.save(dict(state_dict=dict(weight=torch.rand(size)), meta=dict(epoch=1)), path)
    return path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def content(folder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob('*')
        if path.is_file()
    }


def test_a_run_is_noted_before_it_starts(cfg):
    assert begin(cfg)
    assert not cfg.resume
    run = read_run(cfg.work_dir)
    assert run['finished'] is False
    assert dict(run['config'], resume=False) == cfg.to_dict()
    assert list(run['config']['model']['teachers']) == [
        'strong',
        'middle',
        'alpha',
    ]  # their order is kept
    assert run['versions'] == versions()


def test_an_unfinished_run_goes_on_from_its_newest_checkpoint(cfg, capsys):
    begin(cfg)
    for name in (
        'epoch_2.pth',
        'epoch_10.pth',
        'epoch_9.pth',
        'best_accuracy_epoch_11.pth',
        'student.pth',
    ):
        save(cfg, name)
    assert begin(cfg)
    assert cfg.resume
    assert cfg.load_from.endswith('/epoch_10.pth')
    assert 'goes on from' in capsys.readouterr().out


@pytest.mark.parametrize('template', ['model_{}.pth', 'e{:03d}.pth', 'x+(y)_{}.pth'])
def test_checkpoints_of_any_name_are_found(cfg, template):
    cfg.default_hooks = dict(checkpoint=dict(filename_tmpl=template))
    for epoch in (9, 10):
        save(cfg, template.format(epoch))
    save(cfg, 'other.pth')
    assert checkpoints.newest_checkpoint(cfg) == str(Path(cfg.work_dir) / template.format(10))


def test_a_broken_newest_checkpoint_falls_back_to_the_one_before(cfg):
    begin(cfg)
    save(cfg, 'epoch_1.pth')
    cut(save(cfg, 'epoch_2.pth'))
    (Path(cfg.work_dir) / 'epoch_3.pth').write_bytes(b'')
    with mock.patch.object(checkpoints, 'print_log') as said:
        assert begin(cfg)
    assert cfg.load_from.endswith('/epoch_1.pth')
    assert [
        f'epoch_{n}.pth is damaged' in call.args[0] for n, call in zip((3, 2), said.call_args_list)
    ] == [True] * 2


def test_all_checkpoints_broken_start_the_run_over(cfg, capsys):
    begin(cfg)
    cut(save(cfg, 'epoch_1.pth'))
    assert begin(cfg)
    assert not cfg.resume
    assert 'no intact checkpoint' in capsys.readouterr().out


def test_no_flipped_byte_passes_for_a_weight(cfg):
    """Wherever one byte is wrong, the file is refused or means the same."""
    path = save(cfg, 'epoch_1.pth', size=300)
    whole, expected = path.read_bytes(), torch.load(path, weights_only=True)['state_dict']['weight']
    chance, refused = random.Random(0), 0
    for place in chance.sample(range(len(whole)), 250):
        path.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :]
        )
        if checkpoints.damage_of(str(path)):
            refused += 1
        else:
            assert torch.equal(
                torch.load(path, weights_only=True)['state_dict']['weight'], expected
            )
    assert refused > 100  # the rest fell into padding and what zip says twice


def test_a_finished_run_is_left_alone(cfg, capsys):
    begin(cfg)
    save(cfg, 'epoch_3.pth')
    finish(cfg)
    before = content(cfg.work_dir)
    assert begin(cfg) is False
    assert 'finished: nothing to do' in capsys.readouterr().out
    assert content(cfg.work_dir) == before


def test_other_settings_are_an_error_that_names_them(cfg):
    begin(cfg)
    save(cfg, 'epoch_1.pth')
    before = content(cfg.work_dir)
    cfg.lr, cfg.train_cfg.max_epochs, cfg.model.teachers = 0.2, 4, dict(strong=1, middle=2)
    with pytest.raises(RunError) as error:
        begin(cfg)
    for part in (
        'lr: 0.1, now 0.2',
        'train_cfg.max_epochs: 3, now 4',
        "model.teachers.alpha: 3, now 'absent'",
        '--resume',
        '--fresh',
        '--work-dir',
    ):
        assert part in str(error.value)
    assert content(cfg.work_dir) == before
    assert begin(cfg, resume='newest')
    assert cfg.load_from.endswith('epoch_1.pth')
    assert read_run(cfg.work_dir)['config']['lr'] == 0.2


def test_where_a_run_lies_and_logs_is_no_setting(cfg, tmp_path):
    begin(cfg)
    cfg.log_level, cfg.launcher, cfg.experiment_name = 'ERROR', 'pytorch', 'other'
    Path(cfg.work_dir).rename(tmp_path / 'moved')
    locks.unlock_all()
    cfg.work_dir = str(tmp_path / 'moved')
    assert begin(cfg)


@pytest.mark.parametrize(
    ('processes', 'batch', 'same'), [(2, 8, True), (4, 4, True), (1, 16, True), (2, 16, False)]
)
def test_the_batch_counts_over_all_processes(cfg, processes, batch, same):
    begin(cfg)
    cfg.train_dataloader.batch_size = cfg.train_cfg.upper_dataloader.batch_size = batch
    cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel')
    with mock.patch.object(identity, 'get_world_size', return_value=processes):
        assert runs.holds(cfg) is same


@pytest.mark.parametrize('wrong', ['missing', 'cut'])
def test_a_checkpoint_given_by_name_must_be_whole(cfg, tmp_path, wrong):
    path = save(cfg, 'epoch_1.pth') if wrong == 'cut' else tmp_path / 'ghost.pth'
    if wrong == 'cut':
        cut(path)
    with pytest.raises(RunError, match=f'--resume: {path} is .*--resume alone'):
        begin(cfg, resume=str(path))


def test_fresh_keeps_what_was_there(cfg):
    begin(cfg)
    save(cfg, 'epoch_1.pth')
    finish(cfg)
    before = content(cfg.work_dir)
    for _ in range(2):
        assert begin(cfg, fresh=True)
        assert not cfg.resume
        save(cfg, 'epoch_1.pth')
    assert content(f'{cfg.work_dir}.1') == before
    assert Path(f'{cfg.work_dir}.2/epoch_1.pth').exists()
    assert not Path(f'{cfg.work_dir}.3').exists()


def test_checkpoints_of_who_knows_what_are_an_error(cfg):
    save(cfg, 'epoch_1.pth')
    with pytest.raises(RunError, match=r'but no run\.json says of what: mmdynakd train --resume'):
        begin(cfg)
    assert begin(cfg, resume='newest')
    assert cfg.resume


@pytest.mark.parametrize(
    'text', ['', '{', '[]', '{"config": 1, "work": {}, "versions": {}}', '\xff']
)
def test_a_damaged_note_is_an_error(cfg, text):
    begin(cfg)
    (Path(cfg.work_dir) / 'run.json').write_bytes(text.encode('latin1'))
    with pytest.raises(RunError, match=r'run\.json is (not valid JSON|not UTF-8|no note).*--fresh'):
        begin(cfg)
    assert not runs.holds(cfg)
    assert begin(cfg, fresh=True)


def test_other_versions_are_said(cfg):
    begin(cfg)
    save(cfg, 'epoch_1.pth')
    with (
        mock.patch.object(runs, 'versions', return_value=dict(versions(), torch='9.9')),
        mock.patch.object(runs, 'print_log') as said,
    ):
        begin(cfg)
    assert re.search(r'start: torch \S+ → 9\.9;', said.call_args.args[0])


def trains_and_has_a_worker(work_dir: str, ready: int) -> None:
    """As a run whose data loader's worker outlives it; ends by a signal."""
    try:
        os.setsid()
        begin(Config(dict(work_dir=work_dir)))
        if os.fork():
            os.write(ready, b'ready')
        signal.pause()
    finally:
        os._exit(1)


def test_two_processes_never_train_in_one_folder(cfg):
    reader, writer = os.pipe()
    other = os.fork()
    if other == 0:
        trains_and_has_a_worker(cfg.work_dir, writer)
    os.close(writer)
    try:
        assert os.read(reader, 5) == b'ready'
        with pytest.raises(RunError, match='another process is training in'):
            begin(cfg)
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
        assert begin(Config(dict(work_dir=cfg.work_dir)))
    finally:
        os.killpg(other, signal.SIGKILL)
        os.close(reader)


def test_a_work_dir_that_cannot_be_written_is_an_error(cfg):
    with (
        mock.patch.object(
            os, 'makedirs', side_effect=OSError(errno.EROFS, 'Read-only file system', cfg.work_dir)
        ),
        pytest.raises(RunError, match=r'the work dir .* cannot be used .*Read-only.*--work-dir'),
    ):
        begin(cfg)


@pytest.mark.parametrize('fault', [OSError(errno.ENOSPC, 'No space left'), KeyboardInterrupt()])
def test_a_file_is_written_whole_or_not_at_all(tmp_path, fault):
    files.write_bytes(str(tmp_path), 'a.pth', b'old')
    with mock.patch.object(os, 'fsync', side_effect=fault), pytest.raises(type(fault)) as error:
        files.write_bytes(str(tmp_path), 'a.pth', b'new')
    assert content(tmp_path) == {'a.pth': b'old'}
    assert not isinstance(fault, OSError) or error.value.filename == str(tmp_path / 'a.pth')


def test_a_full_disk_leaves_the_last_good_state(tmp_path, monkeypatch):
    """The third checkpoint does not fit: one error. With room again, the same command goes on."""

    def config(name: str) -> Config:
        cfg = by_epoch(tmp_path / name)
        cfg.custom_hooks[0].update(num_candidates=1)
        return cfg

    fsync = os.fsync

    def full(file) -> None:
        if os.fstat(file).st_size > 10_000 and (tmp_path / 'work' / 'epoch_2.pth').exists():
            raise OSError(errno.ENOSPC, 'No space left on device')
        fsync(file)

    with quick():
        train(config('whole'))
        with monkeypatch.context() as patch:
            patch.setattr(os, 'fsync', full)
            with pytest.raises(RunError) as error:
                train(config('work'))
        for part in (
            'No space left on device',
            'work/epoch_3.pth',
            'last good state',
            'epoch_2.pth',
            'same command',
        ):
            assert part in str(error.value)
        assert not list((tmp_path / 'work').glob('*.tmp*'))
        assert not (tmp_path / 'work' / 'candidates.json').exists()
        train(config('work'))
    assert all(determinism.differences(str(tmp_path / 'whole'), str(tmp_path / 'work')).values())
    assert read(tmp_path / 'work', 'run.json')['finished'] is True

"""Every shipped config builds and takes a real step on made images of its size."""

import uuid
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from runs import CHECKOUT, quick, run, search_config
from toys import made_batch

CONFIGS = CHECKOUT / 'configs'
SEARCHES = sorted(path.name for path in CONFIGS.glob('*.py'))
COMPOSED = sorted(
    f'{path.parent.name}/{path.name}'
    for folder in ('compose', 'benchmarks')
    for path in (CONFIGS / folder).glob('*.py')
)  # tests/models/distillers/test_compose.py takes their steps
TEACHERS = sorted(f'teachers/{path.name}' for path in (CONFIGS / 'teachers').glob('*.py'))


def runner_of(name: str, work_dir: Path) -> Runner:
    """The config as shipped, but for the teachers' checkpoints, which are trained or downloaded."""
    cfg = Config.fromfile(CONFIGS / name)
    for teacher in cfg.model.get('teachers', {}).values():
        teacher.checkpoint = None
    cfg.update(work_dir=str(work_dir), log_level='WARNING', experiment_name=uuid.uuid4().hex)
    with quick():
        return Runner.from_cfg(cfg)


def batch_for(name: str, seed: int) -> dict:
    return made_batch(4, 10, 8, seed) if 'digits' in name else made_batch(4, 100, 32, seed)


def copied(module) -> dict[str, torch.Tensor]:
    return {key: value.detach().clone() for key, value in module.named_parameters()}


def moved(before: dict, module) -> set[str]:
    return {key for key, value in module.named_parameters() if not torch.equal(before[key], value)}


def lower_step(runner: Runner, name: str, optim_wrapper) -> None:
    """Takes it, and asserts that the loss is finite and reaches the first and the last layer."""
    before = copied(runner.model)
    log = runner.model.train_step(batch_for(name, 0), optim_wrapper)
    losses = [value for key, value in log.items() if key.endswith('loss')]
    assert losses
    assert all(torch.isfinite(value) and value > 0 for value in losses)
    changed = moved(before, runner.model)
    assert {
        key for key in before if key.endswith(('backbone.conv1.weight', 'head.fc.weight'))
    } <= changed
    assert not [key for key in changed if 'alpha' in key]


def test_all_were_found():
    assert len(SEARCHES) >= 4
    assert len(TEACHERS) >= 12
    assert len(COMPOSED) >= 21


@pytest.mark.parametrize('name', SEARCHES + TEACHERS + COMPOSED)
def test_is_short_and_begins_with_its_command(name):
    lines = (CONFIGS / name).read_text(encoding='utf-8').splitlines()
    command = 'study' if name.startswith('benchmarks/') else 'train'
    assert len(lines) <= 30
    assert lines[0].split()[:4] == ['#', 'mmdynakd', command, f'configs/{name}']


@pytest.mark.parametrize('name', TEACHERS)
def test_a_teacher_takes_a_step(tmp_path, name):
    runner = runner_of(name, tmp_path)
    lower_step(runner, name, runner.build_optim_wrapper(runner.cfg.optim_wrapper))


@pytest.mark.parametrize('name', SEARCHES)
def test_a_search_takes_both_steps(tmp_path, name):
    runner = runner_of(name, tmp_path)
    model, optim_wrapper = runner.model, runner.build_optim_wrapper(runner.cfg.optim_wrapper)
    assert list(model.lanes) == list(model.searched) == ['search']
    model.ensemble.run(
        model.ensemble.names, torch.zeros(2, 3, 32, 32)
    )  # fast teachers are folded at their first run
    frozen = {name: copied(network) for name, network in model.ensemble.networks.items()}
    lower_step(runner, name, optim_wrapper)
    before = copied(model)
    loss = model.upper_step(batch_for(name, 1), optim_wrapper)['search']
    assert torch.isfinite(loss)
    assert loss > 0
    assert moved(before, model) == {'lanes.search.selection.alpha'}
    assert len(set(model.lanes['search'].selection.probs())) > 1
    assert not any(
        moved(frozen[name], network) for name, network in model.ensemble.networks.items()
    )


@pytest.mark.parametrize(
    ('path', 'error', 'message'),
    [
        ('model.unknown', TypeError, "unexpected keyword argument 'unknown'"),
        ('model.selection.unknown', TypeError, "unexpected keyword argument 'unknown'"),
        ('model.lanes.a.unknown', ValueError, r'lanes\.a may override'),
        ('model.teachers.weak.unknown', ValueError, r'teachers\.weak must be dict\(model='),
        ('model.distiller.unknown', TypeError, "unexpected keyword argument 'unknown'"),
        ('custom_hooks.0.unknown', TypeError, "unexpected keyword argument 'unknown'"),
        ('train_cfg.unknown', TypeError, "unexpected keyword argument 'unknown'"),
        ('val_cfg.unknown', TypeError, "unexpected keyword argument 'unknown'"),
        ('optim_wrapper.unknown', ValueError, r"optim_wrapper takes .* unknown: \['unknown'\]"),
        ('optim_wrapper.student.unknown', TypeError, "unexpected keyword argument 'unknown'"),
        (
            'param_scheduler.unknown',
            ValueError,
            "param_scheduler takes the keys 'student' and 'theta'",
        ),
        ('train_dataloader.dataset.unknown', TypeError, "unexpected keyword argument 'unknown'"),
    ],
)
def test_an_unknown_key_is_an_error(tmp_path, path, error, message):
    cfg = search_config(tmp_path / 'work', **{path: [] if 'scheduler' in path else 1})
    with pytest.raises(error, match=message):
        run(cfg)
    assert not list((tmp_path / 'work').glob('*.pth'))

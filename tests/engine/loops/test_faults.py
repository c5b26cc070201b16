"""Runs with faults: skipped steps leave no trace, messages name them, endless skipping stops."""

import re
from types import SimpleNamespace

import pytest
from fault_parts import BAD, search
from mmengine.hooks import Hook
from runs import PowerCutError, read, run, same

from mmdynakd.engine.hooks import theta_watch
from mmdynakd.engine.loops import faults
from mmdynakd.models import DynaKD


@pytest.fixture
def said(monkeypatch):
    texts = []
    for module in (faults, theta_watch):
        monkeypatch.setattr(module, 'print_log', lambda text, *_: texts.append(text))
    return texts


def ids(batch):
    return [sample.sample_idx for sample in batch['data_samples']]


def absent(monkeypatch, steps):
    """Undoes the steps that hold the bad image, all but their draws and counts."""
    train_step = DynaKD.train_step

    def step(self, data, optim_wrapper):
        if BAD not in ids(data):
            return train_step(self, data, optim_wrapper)
        steps.append(self.step)
        self.step += 1
        self._upper_logs = {}
        for entry in optim_wrapper.lanes.values():
            entry._inner_count += 1
        return {}

    monkeypatch.setattr(DynaKD, 'train_step', step)


# --- a bad image ----------------------------------------------------------------------------------


def test_a_bad_image_costs_its_steps_and_nothing_else(tmp_path, said, monkeypatch):
    """Once an epoch; the student ends bit for bit where it would have without those two steps."""
    found = run(search(tmp_path / 'a' / 'work', train=[BAD]))
    with monkeypatch.context() as patch:
        steps = []
        absent(patch, steps)
        expected = run(search(tmp_path / 'b' / 'work'))
    assert len(steps) == 2
    assert same(found.model.state_dict(), expected.model.state_dict())
    assert found.model.lanes['search'].selection.probs() != [1 / 3] * 3
    assert found.optim_wrapper.skipped == dict(search=2)
    assert expected.optim_wrapper.skipped == {}
    assert len(said) == 2
    for step, text in zip(steps, said):
        assert text.startswith(f'iteration {step + 1}; ')
        assert "the step of lane 'search' is skipped, its loss" in text
        assert f'images that are not finite by sample_idx: {BAD};' in text
        assert 'not finite: search/student.loss, search/' in text
        assert '… (16)' in text
        assert re.search(r'\(1 in a row, \d in all; teacher: (strong|middle|weak)\)', text)
    history = found.message_hub.get_scalar('train/search/skipped').data[0]
    assert history.tolist() == [1, 2]


def test_both_stages_with_bad_images_and_an_interruption_end_as_one(tmp_path, said):
    """Bad images are counted in results.json, also over a resumption."""

    def config(name, **options):
        return search(tmp_path / name / 'work', [BAD], [3], evaluate=True, **options)

    whole = config('a')
    run(whole)
    cut = config('b')
    cut.custom_hooks.append(dict(type='CutOff', at=8, stage='work'))
    with pytest.raises(PowerCutError):
        run(cut)
    runner = run(config('b', resume=True))
    assert runner.optim_wrapper.skipped == {'search': 2, 'search.theta': runner.max_iters // 3}
    for file in ('results.json', 'candidates.json'):
        first, second = (read(tmp_path / name / 'work', file) for name in 'ab')
        assert first.get('lanes') == second.get('lanes')
        assert first.get('candidates') == second.get('candidates')
    assert [row['skipped'] for row in read(tmp_path / 'a' / 'work', 'results.json')['lanes']] == [
        2,
        2,
    ]
    losses = [c['upper_loss'] for c in second['candidates']]
    assert all(0 < loss < 100 for loss in losses)
    assert any(
        "the upper step (θ) of lane 'search'" in text and 'sample_idx: 3;' in text for text in said
    )
    assert any(
        "lane 'cat1'" in text and "lane 'cat2'" in text for text in said
    )  # one message a step


# --- k in a row -----------------------------------------------------------------------------------


def test_a_teacher_that_breaks_stops_the_run_by_name(tmp_path, said):
    """Epoch 1, of 5 iterations, is saved; the only teacher breaks in epoch 2."""
    cfg = search(tmp_path / 'work', **{'optim_wrapper.max_skipped': 3})
    cfg.model.lanes = dict(kd=dict(selection=dict(probs='weak')), ce=dict(selection=None))
    cfg.custom_hooks = [dict(type='SpoilTeacher', name='weak', at=6)]
    with pytest.raises(FloatingPointError) as error:
        run(cfg)
    text = str(error.value)
    assert text.startswith(
        '3 steps in a row were not finite (optim_wrapper.max_skipped=3): the run stops.'
    )
    for part in (
        "iteration 9; the step of lane 'kd' is skipped",
        '(3 in a row, 3 in all; teacher: weak)',
        'teachers whose output is not finite: weak;',
        'the batch by sample_idx: ',
        f'Last good checkpoint: {tmp_path / "work" / "epoch_1.pth"}.',
        'optim_wrapper.student.optimizer.lr',
        'mmdynakd check teachers',
    ):
        assert part in text, part
    assert "lane 'ce'" not in text
    assert len(said) == 2


def test_steps_that_are_too_long_stop_the_run(tmp_path, said):
    with pytest.raises(FloatingPointError) as error:
        run(
            search(
                tmp_path / 'work',
                **{'optim_wrapper.student.optimizer.lr': 1e30, 'train_cfg.max_epochs': 4},
            )
        )
    text = str(error.value)
    assert '10 steps in a row' in text
    assert 'optim_wrapper.student.optimizer.lr' in text
    largest = float(
        re.search(r"The largest weight of lane 'search' is (\S+) \(student\.", text).group(1)
    )
    assert not largest < 1e20
    assert 'Last good checkpoint: none in' in text or 'epoch_1.pth' in text


def test_a_search_whose_upper_steps_are_not_finite_stops(tmp_path, said):
    cfg = search(tmp_path / 'work', upper=range(40), **{'optim_wrapper.max_skipped': 4})
    with pytest.raises(
        FloatingPointError,
        match=r'4 steps .* iteration 4; the upper step \(θ\) of lane .*'
        'optim_wrapper.theta.optimizer.lr',
    ):
        run(cfg)


def test_a_loss_that_turns_inf_once_is_one_step(tmp_path, said, monkeypatch):
    loss, calls = DynaKD.loss, []

    def turning(self, inputs, data_samples):
        losses = loss(self, inputs, data_samples)
        calls.append(None)
        return {
            key: value + (float('inf') if len(calls) == 4 else 0) for key, value in losses.items()
        }

    monkeypatch.setattr(DynaKD, 'loss', turning)
    runner = run(search(tmp_path / 'work'))
    assert runner.optim_wrapper.skipped == dict(search=1)
    assert len(said) == 1
    assert len(calls) == 10
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())


def test_many_faults_are_not_said_one_by_one(tmp_path, said):
    cfg = search(tmp_path / 'work', **{'optim_wrapper.max_skipped': 100, 'train_cfg.max_epochs': 8})
    cfg.model.lanes = dict(kd=dict(selection=dict(probs='weak'), student_loss_weight=float('nan')))
    runner = run(cfg)
    assert runner.optim_wrapper.skipped == dict(kd=40)
    assert len(said) == 10 + 3


# --- θ --------------------------------------------------------------------------------------------


class Watch(Hook):
    """ThetaWatch as the hook of a search calls it, every iteration."""

    def __init__(self) -> None:
        self.watch = theta_watch.ThetaWatch()

    def before_train(self, runner) -> None:
        self.watch.begin(runner)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.watch.look(runner, runner.iter + 1)


def watched(work, lr, teachers=3, **options):
    cfg = search(work, **{'optim_wrapper.theta.optimizer.lr': lr, **options})
    cfg.model.teachers = dict(list(cfg.model.teachers.items())[:teachers])
    cfg.custom_hooks = [Watch()]
    return run(cfg)


CLASSES = {
    'model.selection': dict(num_classes=10),
    'model.distiller.distill_losses.loss_kl.reduction': 'none',
}


@pytest.mark.parametrize('options', [{}, CLASSES], ids=['one', 'by class'])
def test_a_collapse_is_said_once_with_the_teacher_it_went_to(tmp_path, said, options):
    runner = watched(tmp_path / 'work', 3.0, **options)
    theta = runner.model.lanes['search'].selection.marginal()
    best = max(theta, key=theta.get)
    assert theta[best] > 0.9
    assert len(said) == 1
    assert f"θ of lane 'search' has collapsed on '{best}'" in said[0]
    assert "upper_objective='unrolled'" in said[0]


@pytest.mark.parametrize('options', [{}, CLASSES], ids=['one', 'by class'])
def test_a_theta_that_never_moves_is_said_at_the_end(tmp_path, said, options):
    watched(tmp_path / 'work', 1e-9, **options)
    assert len(said) == 1
    assert "θ of lane 'search' has not moved" in said[0]
    assert 'after 10 upper steps' in said[0]


@pytest.mark.parametrize(
    ('lr', 'teachers', 'options', 'message'),
    [
        (0.2, 3, {}, None),
        (0.2, 1, {}, None),
        (
            0.2,
            3,
            {'optim_wrapper.warmup': 10},
            'optim_wrapper.warmup=10 lasts as long as the whole search',
        ),
    ],
    ids=['learns', 'one teacher', 'warmup'],
)
def test_a_theta_as_it_should_be_is_left_in_peace(tmp_path, said, lr, teachers, options, message):
    watched(tmp_path / 'work', lr, teachers, **options)
    assert (message is None and said == []) or (len(said) == 1 and message in said[0])


def stub(theta):
    """A runner whose only lane has one upper step an iteration, of 1000."""
    selection = SimpleNamespace(
        teachers=list('abcde'), probs=lambda: theta, marginal=lambda: dict(zip('abcde', theta))
    )
    return SimpleNamespace(
        model=SimpleNamespace(searched=dict(search=SimpleNamespace(selection=selection))),
        max_iters=1000,
        optim_wrapper=SimpleNamespace(upper_steps_before=lambda step: step, warmup=0),
    )


@pytest.mark.parametrize(('best', 'collapsed'), [(0.94, True), (0.93, False)])
def test_the_entropy_that_is_a_collapse(said, monkeypatch, best, collapsed):
    monkeypatch.setattr(theta_watch, 'algorithm_of', lambda runner: runner.model)
    watch = theta_watch.ThetaWatch()
    watch.begin(stub([0.2] * 5))
    watch.look(stub([(1 - best) / 4] * 4 + [best]), 10)
    assert [text.startswith("θ of lane 'search' has collapsed on 'e'") for text in said] == [
        True
    ] * collapsed


@pytest.mark.parametrize(
    ('moves', 'still'), [({}, [100]), ({50: 0.0009}, [100]), ({50: 0.0011}, [])]
)
def test_a_theta_that_never_moves_is_said_once_after_a_hundred_upper_steps(
    said, monkeypatch, moves, still
):
    """By the furthest that it ever was from its start: one that came back has moved."""
    monkeypatch.setattr(theta_watch, 'algorithm_of', lambda runner: runner.model)
    watch, heard = theta_watch.ThetaWatch(), []
    watch.begin(stub([0.2] * 5))
    for step in (50, 99, 100, 101, 1000):
        away = moves.get(step, 0.0)
        watch.look(stub([0.2 + away, 0.2 - away, 0.2, 0.2, 0.2]), step)
        heard += [step] * (len(said) - len(heard))
    assert heard == still
    assert all('has not moved' in text for text in said)


def test_a_theta_that_is_not_finite_stops_the_search(tmp_path):
    """As by steps of its own that are too long: each was finite."""

    class Overflow(Watch):
        def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
            runner.model.lanes['search'].selection.alpha.data[0] = float('inf')

    cfg = search(tmp_path / 'work')
    cfg.custom_hooks = [Overflow()]
    with pytest.raises(
        FloatingPointError, match="θ of lane 'search' is not finite at iteration 1: lower opt"
    ):
        run(cfg)

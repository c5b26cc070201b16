"""What must not leak from one stage, run or lane into another."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from runs import PowerCutError, quick, read, result_files, run, same, search_config, weights
from torch import nn
from toys import bilevel, built, differing, dynakd_cfg, kd_distiller_cfg, made_batch, snapshot

from mmdynakd.evaluation import plan_evaluation
from mmdynakd.functional import NoHypergradientError
from mmdynakd.registry import MODELS
from mmdynakd.values import Candidate
from mmdynakd.workdir.identity import config_hash


def test_a_test_of_a_search_checkpoint_starts_no_evaluation(tmp_path):
    cfg = search_config(tmp_path / 'work')
    cfg.custom_hooks.append(dict(type='CutOff', at=0, stage='evaluation'))
    with pytest.raises(PowerCutError):
        run(cfg)
    cfg = search_config(tmp_path / 'test', load_from=str(tmp_path / 'work' / 'epoch_2.pth'))
    cfg.experiment_name = 'test_alone'
    with quick():
        metrics = Runner.from_cfg(cfg).test()
    assert list(metrics) == ['search/accuracy/top1']
    assert result_files(tmp_path / 'test') == []
    assert not (tmp_path / 'test' / 'evaluation').exists()


def test_an_evaluation_of_other_candidates_is_not_resumed(tmp_path):
    """Search A ends; search B, in the same folder, is cut off and goes on with its own students."""
    work = tmp_path / 'work'
    short = {'custom_hooks.0.num_candidates': 1, 'custom_hooks.0.single_teachers': False}
    run(search_config(work, **short))
    other = {**short, 'optim_wrapper.theta.optimizer.lr': 1.5}
    cfg = search_config(work, **other)
    cfg.custom_hooks.append(dict(type='CutOff', at=8, stage='work'))
    with pytest.raises(PowerCutError):
        run(cfg)
    run(search_config(work, resume=True, **other))
    run(search_config(tmp_path / 'fresh', **other))
    resumed, fresh = read(work, 'results.json'), read(tmp_path / 'fresh', 'results.json')
    assert resumed['lanes'] == fresh['lanes']
    assert resumed['config_sha256'] == fresh['config_sha256']
    assert same(weights(work / 'student.pth'), weights(tmp_path / 'fresh' / 'student.pth'))


def test_the_hash_of_a_config_is_of_the_work_alone():
    cfg = dict(model=dict(b=1, a=2), work_dir='x', resume=False, experiment_name='one')
    again = dict(resume=True, experiment_name='two', work_dir='y', model=dict(a=2, b=1))
    assert config_hash(Config(cfg)) == config_hash(Config(again))
    assert config_hash(Config(cfg)) != config_hash(Config({**cfg, 'model': dict(b=1, a=3)}))


def test_a_candidate_keeps_the_settings_of_the_lane_that_found_it():
    lanes = dict(
        a={}, b=dict(student_loss_weight=1.0, selection=dict(weight_by_probability='none'))
    )
    cfg = Config(dict(model=dict(lanes=lanes), work_dir='w', experiment_name='e'))
    settings = SimpleNamespace(
        baselines={}, single_teachers=False, evaluation={}, metric='accuracy/top1'
    )
    theta = dict(t0=0.25, t1=0.75)
    candidates = [Candidate(name=f'{lane}_cat1', lane=lane, theta=theta) for lane in lanes]
    candidates.append(Candidate(name='fixed', theta=theta))
    cfg = plan_evaluation(cfg, settings, candidates, ['t0', 't1'], [0]).side_by_side(0)
    plain = dict(selection=dict(probs=theta))
    assert cfg.model.lanes.to_dict() == dict(
        a_cat1=plain,
        fixed=plain,
        b_cat1=dict(
            student_loss_weight=1.0, selection=dict(weight_by_probability='none', probs=theta)
        ),
    )


@pytest.mark.parametrize('randomness', [dict(seed=None), dict(seed=0, diff_rank_seed=True)])
def test_a_run_that_could_not_be_repeated_is_an_error(tmp_path, randomness):
    cfg = search_config(tmp_path / 'work')
    cfg.randomness = randomness
    with pytest.raises(ValueError, match='set randomness=dict'):
        run(cfg)


@MODELS.register_module(force=True)
class DrawingConnector(nn.Module):
    """Multiplies the logits by random numbers, as MMRazor's masking connectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(5, 5)

    def forward(self, feature: torch.Tensor) -> torch.Tensor:
        return self.scale(feature * torch.rand_like(feature))


def drawing() -> dict:
    cfg = kd_distiller_cfg()
    cfg['connectors'] = dict(draw=dict(type='mmdynakd.DrawingConnector'))
    cfg['loss_forward_mappings']['loss_kl']['preds_S']['connector'] = 'draw'
    return cfg


def trained(lanes: dict) -> dict[str, torch.Tensor]:
    model = built(dynakd_cfg(2, distiller=drawing(), lanes=lanes))
    model.init_weights()
    optim = bilevel(model)
    for step in range(4):
        model.train_step(made_batch(seed=step), optim)
    return snapshot(model.lanes['a'])


def test_a_lane_with_connectors_that_draw_equals_its_solo_run():
    uniform, labels = dict(selection=dict(probs='uniform')), dict(selection=None)
    alone = trained(dict(a=uniform))
    for beside in (
        dict(a=uniform, ce=labels),
        dict(ce=labels, a=uniform),
        dict(b=uniform, a=uniform, ce=labels),
    ):
        assert differing(alone, trained(beside)) == []


def test_masks_differ_from_step_to_step(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        DrawingConnector, 'forward', lambda self, x: drawn.append(torch.rand(4)) or self.scale(x)
    )
    trained(dict(a=dict(selection=dict(probs='uniform')), ce=dict(selection=None)))
    assert len({tuple(values.tolist()) for values in drawn}) == 4


@MODELS.register_module(force=True)
class QuietDetach(nn.Module):
    def forward(self, preds_S, preds_T):
        return ((preds_S - preds_T.detach()) ** 2).mean()


def test_a_lost_gradient_is_an_error_behind_a_trained_connector():
    """The connector's parameters make the loss require a gradient that yet never reaches θ."""
    distiller = drawing()
    distiller['distill_losses'] = dict(loss_kl=dict(type='mmdynakd.QuietDetach'))
    model = built(dynakd_cfg(2, distiller=distiller))
    with pytest.raises(NoHypergradientError, match="lane 'search': θ got no gradient"):
        model.upper_step(made_batch(), bilevel(model))


@pytest.mark.parametrize(
    ('loss', 'message'),
    [
        (
            dict(loss_kl=dict(type='DISTLoss')),
            'distill_losses.loss_kl .DISTLoss. has teacher_detach=True',
        ),
        (
            dict(kl=dict(type='KLDivergence', teacher_detach=False)),
            "one must have 'loss' in its name",
        ),
    ],
)
def test_losses_from_which_nothing_would_be_learned_are_errors(loss, message):
    distiller = kd_distiller_cfg()
    distiller['loss_forward_mappings'] = {
        next(iter(loss)): distiller['loss_forward_mappings']['loss_kl']
    }
    if 'DISTLoss' in str(loss):
        distiller['loss_forward_mappings']['loss_kl'] = dict(
            logits_S=dict(from_student=True, recorder='logits'),
            logits_T=dict(from_student=False, recorder='logits'),
        )
    with pytest.raises(ValueError, match=message):
        built(dynakd_cfg(2, distiller={**distiller, 'distill_losses': loss}))


def test_a_teacher_with_pretrained_weights_of_its_own_loads_them(tmp_path):
    cfg = dynakd_cfg(1)
    source = built(cfg).ensemble.networks['t0']
    torch.save(dict(state_dict=source.state_dict()), tmp_path / 'own.pth')
    cfg['teachers']['t0']['model']['pretrained'] = str(tmp_path / 'own.pth')
    loaded = built(cfg, seed=1).ensemble.networks['t0']
    assert differing(snapshot(source), snapshot(loaded)) == []

"""docs/compose.md shows how a MMRazor config becomes a DynaKD config: its very diff runs here."""

import copy
import re

import pytest
import torch
from mmengine.registry import DefaultScope
from runs import CHECKOUT
from toys import PREPROCESSOR, SOURCE, differing, made_batch, snapshot, student_cfg

from mmdynakd.registry import MODELS


def diff() -> list[str]:
    page = (CHECKOUT / 'docs' / 'compose.md').read_text(encoding='utf-8')
    return re.search(r'```diff\n(.*?)```', page, re.S).group(1).splitlines()


def side(sign: str) -> dict:
    """The config before (``-``) or after (``+``) the diff, its names standing for toys."""
    lines = [line[1:] for line in diff() if line[:1] in (' ', sign)]
    teacher = dict(student_cfg(channels=6), data_preprocessor=PREPROCESSOR)
    scope = dict(
        student=student_cfg(),
        teacher=teacher,
        assistant=copy.deepcopy(teacher),
        teacher_ckpt=None,
        assistant_ckpt=None,
    )
    exec('\n'.join(lines), scope)  # our own page
    return scope['model']


def test_it_is_five_lines():
    added = [line for line in diff() if line.startswith('+')]
    assert 0 < len(added) <= 5


def test_before_is_mmrazors_and_after_is_ours_with_the_same_distiller():
    before, after = side('-'), side('+')
    assert before['type'] == 'mmrazor.SingleTeacherDistill'
    assert after['type'] == 'mmdynakd.DynaKD'
    ours = copy.deepcopy(after['distiller'])
    assert ours['distill_losses']['loss_kl'].pop('teacher_detach') is False
    assert ours == before['distiller']
    assert ours['student_recorders']['logits']['source'] == SOURCE


def test_with_one_teacher_both_train_the_same_student():
    """Losses and the student's weights, step by step."""
    before, after = side('-'), side('+')
    after['teachers'] = {'teacher': after['teachers']['teacher']}
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        torch.manual_seed(0)
        networks = {key: MODELS.build(before[key]) for key in ('architecture', 'teacher')}
        ours = MODELS.build(dict(after, data_preprocessor=PREPROCESSOR, draw_seed=0)).train()
    with DefaultScope.overwrite_default_scope('mmrazor'):
        theirs = MODELS.build(dict(before, data_preprocessor=PREPROCESSOR, **networks))
    theirs.train()  # which returns nothing
    lane = ours.lanes['search']
    lane.student.load_state_dict(theirs.student.state_dict(), strict=False)
    own = ours.ensemble.networks['teacher']
    own.load_state_dict(theirs.teacher.state_dict(), strict=False)
    optims = [torch.optim.SGD(m.parameters(), lr=0.05) for m in (theirs.student, lane.student)]
    for step in range(3):
        batch = made_batch(seed=step)
        totals = []
        for model, optim in zip((theirs, ours), optims):
            data = model.data_preprocessor(copy.deepcopy(batch), training=True)
            losses = model(**data, mode='loss')
            total = sum(value.mean() for key, value in losses.items() if 'loss' in key)
            optim.zero_grad()
            total.backward()
            optim.step()
            totals.append(total.item())
        assert totals[0] == pytest.approx(totals[1], rel=1e-6)
    state = {
        key: value
        for key, value in snapshot(theirs.student).items()
        if not key.startswith('data_pre')
    }
    mine = {
        key: value
        for key, value in snapshot(lane.student).items()
        if not key.startswith('data_pre')
    }
    for key in differing(state, mine):
        torch.testing.assert_close(mine[key], state[key], rtol=1e-5, atol=1e-7)


def test_with_both_teachers_it_searches():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(side('+'), data_preprocessor=PREPROCESSOR))
    assert model.ensemble.names == ['teacher', 'assistant']
    assert list(model.searched) == ['search']

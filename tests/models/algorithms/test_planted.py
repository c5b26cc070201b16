"""A problem whose best θ is known: one teacher knows the labels, three networks are noise."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmpretrain.structures import DataSample
from toys import (
    PREPROCESSOR,
    bilevel,
    built,
    dynakd_cfg,
    kd_distiller_cfg,
    student_cfg,
    upper_batch,
)

from mmdynakd.models.algorithms.upper import upper_loss

CLASSES, N = 3, 24
THETA = dict(optimizer=dict(type='Adam', lr=0.1, betas=(0.5, 0.999)))


def coloured(seed):
    """Noise images whose class is the channel that is a little brighter."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 180, (N, 3, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (N,), generator=generator).tolist()
    for image, label in zip(images, labels):
        image[label] += 70
    return dict(
        inputs=list(images), data_samples=[DataSample().set_gt_label(label) for label in labels]
    )


def network(seed):
    return built(dict(student_cfg(CLASSES), data_preprocessor=PREPROCESSOR), seed)


@pytest.fixture(scope='module')
def knowing():
    made = network(1)
    optim = OptimWrapper(torch.optim.Adam(made.parameters(), lr=0.02))
    for step in range(30):
        made.train_step(coloured(1000 + step), optim)
    return made


def features(made):
    """Pooled features and labels of a batch."""
    data = made.data_preprocessor(coloured(8888))
    with torch.no_grad():
        return made.extract_feat(data['inputs'])[0], torch.cat(
            [s.gt_label for s in data['data_samples']]
        )


def logits(made):
    return made.head.fc(features(made)[0]).detach()


def noise(seed, spread):
    """A random network, as sure of itself as the other; all classes have one mean logit."""
    made = network(seed)
    fc, (feats, labels) = made.head.fc, features(made)
    means = torch.stack([feats[labels == c].mean(0) for c in range(CLASSES)])
    told, _ = torch.linalg.qr(
        (means[1:] - means[0]).T
    )  # the directions that tell the classes apart
    fc.weight.data -= fc.weight.data @ told @ told.T
    fc.weight.data *= spread / (logits(made) - logits(made).mean(0)).std()
    fc.bias.data -= logits(made).mean(0)
    return made


def accuracy(made, batch):
    predicted = made.predict(**made.data_preprocessor(batch))
    return sum(int(p.pred_label == p.gt_label) for p in predicted) / N


def planted(knowing, position, mix):
    networks = [noise(10 + i, logits(knowing).std()) for i in range(3)]
    networks.insert(position, copy.deepcopy(knowing))
    teachers = {f't{i}': dict(model=network) for i, network in enumerate(networks)}
    return built(
        dynakd_cfg(
            teachers,
            student_cfg(CLASSES),
            kd_distiller_cfg(tau=2.0, loss_weight=0.5),
            CLASSES,
            mix=mix,
            student_loss_weight=1.0,
        ),
        seed=2,
    )


def search(model, steps=80):
    optim = bilevel(model, theta=THETA)
    for step in range(steps):
        model.upper_step(coloured(5000 + step), optim)
        model.train_step(coloured(step), optim)


def distances(model):
    """L_d of the student from each teacher alone, on unseen images."""
    batch = upper_batch(model, coloured(9999))
    lane, values = model.lanes['search'], []
    lane.distiller.mix = 'losses'
    for index in range(4):
        alpha = torch.full((4,), -1e4)
        alpha[index] = 0
        lane.selection.alpha.data = alpha
        values.append(upper_loss(lane, batch).item())
    return values


@pytest.mark.parametrize('position', [0, 3])
@pytest.mark.parametrize('mix', ['outputs', 'losses'])
def test_search_finds_the_teacher_that_knows(knowing, position, mix):
    model = planted(knowing, position, mix)
    knows = [accuracy(made, coloured(7777)) for made in model.ensemble.networks.values()]
    assert knows.pop(position) > 0.9
    assert max(knows) < 0.7
    search(model)
    theta = model.lanes['search'].selection.probs()
    assert theta[position] > 0.8, theta
    values = distances(model)
    assert (
        values.index(min(values)) == position
    )  # the vertex of least upper loss: where all of θ belongs


def test_without_upper_steps_theta_stays_uniform(knowing):
    model = planted(knowing, 0, 'outputs')
    optim = bilevel(model, theta=THETA)
    for step in range(5):
        model.train_step(coloured(step), optim)
    assert model.lanes['search'].selection.probs() == [0.25] * 4

"""CIFAR backbones against the public networks they stand for: names, counts, values, learning."""

import hashlib

import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample
from zoo import PUBLIC, SHAPES, VALUES, classifier, planted, public_names


@pytest.mark.parametrize('network', PUBLIC)
def test_names_shapes_and_parameter_count_are_the_public_ones(network):
    name, arguments, head, parameters, digest = PUBLIC[network]
    # without memory, but for MMPretrain's network, which reads values as it is built
    with torch.device('cpu' if name.startswith('mmpretrain.') else 'meta'):
        model = classifier(name, arguments, plain_head=head is not None)
    state = model.state_dict()
    lines = sorted(
        f'{public} {tuple(state[key].shape)}' for public, key in public_names(model, head).items()
    )
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert hashlib.sha256('\n'.join(lines).encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize('network', VALUES)
def test_features_and_logits_are_those_of_the_public_network(network):
    name, arguments, head = PUBLIC[network][:3]
    logits, deviations = VALUES[network]
    model = classifier(
        name, arguments | {'out_indices': range(len(SHAPES[name][1]))}, head is not None
    )
    model = model.double().eval()
    names, state = public_names(model, head), model.state_dict()
    weights = planted({public: state[key].shape for public, key in names.items()})
    model.load_state_dict({names[public]: value for public, value in weights.items()})
    image = torch.from_numpy(np.random.RandomState(1).uniform(-1, 1, (2, 3, 32, 32)))
    with torch.no_grad():
        features = model.backbone(image)
        assert model(image, mode='tensor')[0, :2].tolist() == pytest.approx(logits, rel=1e-8)
    for stage, deviation in deviations.items():
        assert features[stage].std().item() == pytest.approx(deviation, rel=1e-8)


@pytest.mark.parametrize('name', SHAPES)
def test_every_weight_learns_in_a_classifier(name):
    torch.manual_seed(0)
    small = {
        'CifarMobileNetV2Features': dict(widen_factor=0.5),
        'CifarShuffleNetV2': dict(widen_factor=0.5),
        'CifarShuffleNetV2Stages': dict(widen_factor=0.5),
        'CifarWideResNet': dict(depth=10, drop_rate=0.3),
    }
    model = classifier(
        name, small.get(name, SHAPES[name][0]), name != 'CifarVGGFeatures', num_classes=10
    ).train()
    model.init_weights()
    samples = [DataSample().set_gt_label(label) for label in (0, 3, 9, 3)]
    loss = model(torch.randn(4, 3, 32, 32), samples, mode='loss')['loss']
    assert loss.item() == pytest.approx(np.log(10), rel=0.5)
    loss.backward()
    assert not [
        key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ]
    # a bias before a batch norm has no gradient by theory, weights have
    assert not [
        key for key, p in model.named_parameters() if key.endswith('weight') and not p.grad.any()
    ]

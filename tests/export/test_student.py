"""The exported student sees the same colours from CIFAR's arrays and from image files."""

import pickle

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.apis import ImageClassificationInferencer, init_model
from PIL import Image

from mmdynakd.datasets import CIFAR100
from mmdynakd.export.student import export_student
from mmdynakd.registry import MODELS

MEAN, STD = [129.0, 124.0, 112.0], [68.0, 65.0, 70.0]


def made_cifar(root) -> np.ndarray:
    """Four random test images in CIFAR-100's file layout; returned as (4, 32, 32, 3) RGB."""
    data = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    (root / 'cifar-100-python').mkdir()
    with open(root / 'cifar-100-python' / 'test', 'wb') as file:
        pickle.dump({'data': data, 'fine_labels': [0, 1, 2, 3]}, file)
    return data.reshape(4, 3, 32, 32).transpose(0, 2, 3, 1)


def test_arrays_and_image_files_give_the_same_logits(tmp_path):
    images = made_cifar(tmp_path)
    dataset = dict(
        type='mmdynakd.CIFAR100',
        data_root=str(tmp_path),
        split='test',
        verify=False,
        download=False,
        pipeline=[dict(type='PackInputs')],
    )
    cfg = Config(
        dict(
            model=dict(
                architecture=dict(
                    type='ImageClassifier',
                    backbone=dict(type='mmdynakd.CifarResNet', depth=8),
                    neck=dict(type='GlobalAveragePooling'),
                    head=dict(type='LinearClsHead', num_classes=100, in_channels=64),
                )
            ),
            data_preprocessor=dict(type='ClsDataPreprocessor', mean=MEAN, std=STD, to_rgb=False),
            test_dataloader=dict(
                batch_size=4,
                num_workers=0,
                dataset=dataset,
                sampler=dict(type='DefaultSampler', shuffle=False),
            ),
            test_evaluator=dict(type='Accuracy'),
        )
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        student = MODELS.build(cfg.model.architecture).eval()
        export_student(
            cfg,
            student,
            CIFAR100(**{k: v for k, v in dataset.items() if k != 'type'}),
            str(tmp_path),
        )

    normalised = (torch.tensor(images.copy()).float() - torch.tensor(MEAN)) / torch.tensor(STD)
    expected = student(normalised.permute(0, 3, 1, 2)).softmax(1).detach().numpy()

    config, weights = str(tmp_path / 'student.py'), str(tmp_path / 'student.pth')
    exported = Config.fromfile(config)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        read = CIFAR100(
            **{k: v for k, v in exported.test_dataloader.dataset.items() if k != 'type'}
        )
    model = init_model(config, weights, device='cpu')
    packed = model.data_preprocessor(dict(inputs=[read[i]['inputs'] for i in range(4)]))['inputs']
    np.testing.assert_allclose(
        model(packed).softmax(1).detach().numpy(), expected, rtol=1e-5, atol=1e-7
    )

    paths = [str(tmp_path / f'{i}.png') for i in range(4)]
    for path, image in zip(paths, images):
        Image.fromarray(image).save(path)
    found = ImageClassificationInferencer(config, weights, device='cpu')(paths)
    np.testing.assert_allclose([f['pred_scores'] for f in found], expected, rtol=1e-5, atol=1e-7)

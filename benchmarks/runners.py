"""MMEngine's Runner with its loops and default hooks, stepped so that sides can take turns."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from unittest import mock

import mmengine.device.utils
import numpy as np
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS
from networks import CLASSES, SGD

FOREVER = 10**6  # epochs: a run here ends when nobody asks for its next iteration
LATE_METRICS = dict(
    runtime_info=dict(type='mmdynakd.RuntimeInfoHook')
)  # default hooks of the configs here
PIPELINE = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]


@DATASETS.register_module(force=True)
class RandomImages(BaseDataset):
    """``number`` images of noise, (32, 32, 3) uint8, with labels; the same for every split."""

    METAINFO: ClassVar[dict] = dict(classes=[str(label) for label in range(CLASSES)])

    def __init__(self, number: int, **kwargs) -> None:
        self.number = number
        super().__init__(ann_file='', **{'serialize_data': False, **kwargs})

    def load_data_list(self) -> list[dict]:
        images, labels = random_images(self.number)
        return [dict(img=image, gt_label=int(label)) for image, label in zip(images, labels)]


def random_images(number: int) -> tuple[np.ndarray, np.ndarray]:
    """(number, 32, 32, 3) uint8 and (number,) labels."""
    generator = np.random.default_rng(0)
    return (
        generator.integers(0, 256, (number, 32, 32, 3), dtype=np.uint8),
        generator.integers(0, CLASSES, number),
    )


def dataset(number: int, data_root: str | None, pipeline: list) -> dict:
    """CIFAR-100's training split if its folder is given, else noise."""
    own = (
        dict(type='mmdynakd.CIFAR100', data_root=data_root, split='train', verify=False)
        if data_root
        else dict(type='mmpretrain.RandomImages', number=number)
    )
    return dict(**own, pipeline=pipeline)


def stock_loader(number: int, batch: int, data_root: str | None = None) -> dict:
    """MMPretrain's CIFAR pipeline, one sample at a time.

    It loads in this process, which is faster here than worker processes.
    """
    return dict(
        batch_size=batch,
        num_workers=0,
        persistent_workers=False,
        dataset=dataset(number, data_root, PIPELINE),
        sampler=dict(type='DefaultSampler', shuffle=True),
        drop_last=True,
    )


def array_loader(number: int, batch: int, data_root: str | None = None) -> dict:
    """The same images in memory as one array, augmented a batch at a time."""
    return dict(
        batch_size=batch,
        num_workers=0,
        persistent_workers=False,
        dataset=dict(
            type='mmdynakd.ArrayDataset',
            dataset=dataset(number, data_root, []),
            crop_padding=4,
            flip=0.5,
        ),
        sampler=dict(type='mmdynakd.ViewSampler', shuffle=True),
        collate_fn=dict(type='mmdynakd.batch_collate'),
        drop_last=True,
    )


def optim_wrapper(bilevel: bool) -> dict:
    plain = dict(optimizer=dict(SGD))
    return (
        dict(constructor='mmdynakd.BilevelOptimWrapperConstructor', student=plain)
        if bilevel
        else plain
    )


def runner(
    model: dict, loader: dict, work_dir: Path, train_cfg: dict | None = None, **options
) -> Runner:
    """Make a Runner that trains ``model`` on ``loader``.

    DynaKD has its own loop unless ``train_cfg`` says otherwise.
    """
    bilevel = model['type'] == 'mmdynakd.DynaKD'
    loop = (
        dict(type='mmdynakd.BilevelTrainLoop', max_epochs=FOREVER)
        if bilevel
        else dict(by_epoch=True, max_epochs=FOREVER)
    )
    schedule = dict(type='MultiStepLR', milestones=[150, 180, 210], gamma=0.1, by_epoch=True)
    name = uuid.uuid4().hex
    return Runner(
        model=model,
        work_dir=str(work_dir / name),
        train_dataloader=loader,
        train_cfg=train_cfg or loop,
        optim_wrapper=optim_wrapper(bilevel),
        param_scheduler=dict(student=schedule) if bilevel else schedule,
        randomness=dict(seed=0),
        default_scope='mmpretrain',
        log_level='ERROR',
        experiment_name=name,
        **options,
    )


def use(device: str) -> None:
    """Choose the device; MMEngine would take a GPU if there is one."""
    mmengine.device.utils.DEVICE = device


class Iterations:
    """A Runner's training, one iteration at a time, with its hooks.

    Args:
        runner: not yet started; everything before the first iteration is done here.
    """

    def __init__(self, runner: Runner) -> None:
        with mock.patch.object(
            EpochBasedTrainLoop, 'run', lambda loop: loop.runner.call_hook('before_train')
        ):
            runner.train()
        self.runner, self.loop = runner, runner.train_loop
        self._batches = self._load()

    def _load(self) -> Iterator[tuple[int, dict]]:
        while True:
            self.runner.call_hook('before_train_epoch')
            self.runner.model.train()
            yield from enumerate(self.loop.dataloader)
            self.loop._epoch += 1

    def step(self) -> float:
        """Take one iteration; return the seconds that its batch took to load."""
        start = time.perf_counter()
        number, data = next(self._batches)
        loaded = time.perf_counter()
        self.loop.run_iter(number, data)
        return loaded - start

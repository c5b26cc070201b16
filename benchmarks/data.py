"""Images a second of the array path and of MMPretrain's pipeline, up to the normalised batch.

    python benchmarks/data.py [--data-root data/cifar100] [--batches 50] [--images 45000]

Both sides load the same images, with a crop of padding 4, a flip and normalisation; the data
loaders run in this process (num_workers=0). The sides take turns, in rounds of ``--batches`` times
128 images; the numbers are medians over the rounds. Without ``--data-root`` the images are random
pixels of CIFAR's size. Last line: images a second of the array path divided by those of MMPretrain,
at batch 128.
"""

import os

os.environ.setdefault(
    'OMP_WAIT_POLICY', 'PASSIVE'
)  # before torch: threads that spin stall each other on few cores

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator

import numpy as np
import torch
from common import begin, finish, goal, synchronize, table
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.datasets import BaseDataset

import mmdynakd  # noqa: F401
from mmdynakd.registry import DATASETS, MODELS

BATCHES, HEADLINE, WANTED = (64, 128, 512), 128, 100_000
NORMALIZATION = dict(mean=[129.304, 124.070, 112.434], std=[68.170, 65.392, 70.418])
PIPELINE = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackInputs'),
]


@DATASETS.register_module(force=True)
class RandomPixels(BaseDataset):
    """``count`` images of CIFAR's size, of 100 classes."""

    def __init__(self, count: int, pipeline: list) -> None:
        self.count = count
        super().__init__(ann_file='', pipeline=pipeline)

    def load_data_list(self) -> list[dict]:
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (self.count, 32, 32, 3), dtype=np.uint8)
        return [dict(img=image, gt_label=index % 100) for index, image in enumerate(images)]


def images(args: argparse.Namespace, pipeline: list) -> dict:
    if args.data_root is None:
        return dict(type='mmdynakd.RandomPixels', count=args.images, pipeline=pipeline)
    return dict(
        type='mmdynakd.CIFAR100',
        data_root=args.data_root,
        split='train',
        download=False,
        verify=False,
        indices=args.images,
        pipeline=pipeline,
    )


class Side:
    """An endless loader with its preprocessor: epoch after epoch."""

    def __init__(self, loader: dict, preprocessor: str, args: argparse.Namespace) -> None:
        self.loader = Runner.build_dataloader(dict(num_workers=0, **loader), seed=0)
        self.preprocessor = MODELS.build(dict(type=preprocessor, **NORMALIZATION)).to(args.device)
        self.args, self.batches = args, self._endless()

    def _endless(self) -> Iterator[dict]:
        for epoch in itertools.count():
            self.loader.sampler.set_epoch(epoch)
            yield from self.loader

    def speed(self) -> float:
        """Measure the images a second of one round."""
        start, served = time.perf_counter(), 0
        count = self.args.batches * HEADLINE // self.loader.batch_size
        for data in itertools.islice(self.batches, max(1, count)):
            served += len(self.preprocessor(data, training=True)['inputs'])
        synchronize(self.args.device)
        return served / (time.perf_counter() - start)


def sides(args: argparse.Namespace, batch: int) -> dict[str, Side]:
    arrays = dict(
        batch_size=batch,
        sampler=dict(type='mmdynakd.ViewSampler'),
        collate_fn=dict(type='mmdynakd.batch_collate'),
        dataset=dict(
            type='mmdynakd.ArrayDataset', dataset=images(args, []), crop_padding=4, flip=0.5
        ),
    )
    stock = dict(
        batch_size=batch, sampler=dict(type='DefaultSampler'), dataset=images(args, PIPELINE)
    )
    return dict(
        arrays=Side(arrays, 'mmdynakd.BatchPreprocessor', args),
        stock=Side(stock, 'mmpretrain.ClsDataPreprocessor', args),
    )


def measure(args: argparse.Namespace, batch: int) -> dict[str, float]:
    both = sides(args, batch)
    taken = {name: [] for name in both}
    for round_ in range(args.rounds + 1):
        for name, side in both.items():
            speed = side.speed()
            if round_:  # the first warms up
                taken[name].append(speed)
    return {name: statistics.median(speeds) for name, speeds in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--data-root', help='folder that holds cifar-100-python; by default random pixels'
    )
    parser.add_argument('--batches', type=int, default=50, help='batches of 128 a round')
    parser.add_argument('--images', type=int, default=45_000)
    parser.add_argument('--rounds', type=int, default=7, help='timed rounds a side')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args()
    begin(args, f"the array path against MMPretrain's pipeline, {args.images} images")
    DefaultScope.get_instance('mmdynakd_benchmark', scope_name='mmpretrain')
    speeds = {batch: measure(args, batch) for batch in BATCHES}
    table(
        ['batch', 'array path, images/s', 'MMPretrain, images/s', 'ratio'],
        [
            [batch, f'{own["arrays"]:.0f}', f'{own["stock"]:.0f}', own['arrays'] / own['stock']]
            for batch, own in speeds.items()
        ],
    )
    headline = speeds[HEADLINE]
    goal(f'images a second at batch {HEADLINE}', headline['arrays'], '>=', WANTED)
    print(f'images/s: {headline["arrays"]:.0f}')
    finish(headline['arrays'] / headline['stock'])


if __name__ == '__main__':
    main()

"""Images a second of DynaKD with one teacher and of torchdistill, another framework.

    python benchmarks/against_torchdistill.py [--batch 128] [--steps 30] [--teacher 56] [--depth 20]
    [--bf16]

torchdistill (PyPI) runs as its image classification example runs it: its DistillationBox with
KDLoss, its own CIFAR ResNets (the same layers as ours), and torchvision's crop, flip and
normalisation. It loads images in its own process unless `--workers` says otherwise. DynaKD runs
through MMEngine's Runner with `fast='fp32'` and, where the device has instructions for it (or with
`--bf16`), `fast='bf16'`. The sides take turns of a few iterations; the time to load counts.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torchvision.transforms as T
from common import begin, finish, goal
from networks import CLASSES, KD_WEIGHT, MEAN, SGD, STD, TAU
from pairs import Pair, check, measure, options, precisions, speeds
from PIL import Image
from runners import array_loader, random_images
from torch.utils.data import Dataset, RandomSampler

THEIRS = 'torchdistill'
WANTED = 1.5
MISSING = 'torchdistill is not installed here: pip install torchdistill, or make env'


class Pictures(Dataset):
    """Like torchvision's CIFAR: an image object, transformed, and its label."""

    def __init__(self, number: int) -> None:
        self.images, self.labels = random_images(number)
        normalise = T.Normalize([m / 255 for m in MEAN], [s / 255 for s in STD])
        self.transform = T.Compose(
            [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip(), T.ToTensor(), normalise]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def training(args: argparse.Namespace) -> dict:
    """Settings of the training stage: KD of the logits, a frozen teacher, SGD."""
    logits = dict(
        student_module_path='.',
        student_module_io='output',
        teacher_module_path='.',
        teacher_module_io='output',
    )
    loss = dict(
        key='KDLoss',
        kwargs=dict(
            temperature=float(TAU), alpha=1.0, beta=KD_WEIGHT, reduction='batchmean', **logits
        ),
    )
    loading = dict(batch_size=args.batch, num_workers=args.workers, drop_last=True)
    return dict(
        num_epochs=10**6,
        log_freq=100,
        train_data_loader=dict(
            dataset_id='train', kwargs=loading, sampler=dict(class_or_func=RandomSampler, kwargs={})
        ),
        teacher=dict(forward_proc='forward_batch_only', requires_grad=False),
        student=dict(forward_proc='forward_batch_only', requires_grad=True),
        optimizer=dict(
            key='SGD', kwargs={key: value for key, value in SGD.items() if key != 'type'}
        ),
        criterion=dict(
            key='WeightedSumLoss', kwargs=dict(sub_terms=dict(kd=dict(criterion=loss, weight=1.0)))
        ),
    )


class Theirs:
    """torchdistill's box with its own networks, one iteration at a time."""

    def __init__(
        self, args: argparse.Namespace, teacher: torch.nn.Module, student: torch.nn.Module
    ) -> None:
        from torchdistill.core.distillation import get_distillation_box

        logging.getLogger('torchdistill').setLevel(logging.ERROR)
        self.device = torch.device(args.device)
        teacher, student = as_theirs(args.teacher, teacher).eval(), as_theirs(args.depth, student)
        self.box = get_distillation_box(
            teacher.to(self.device),
            student.to(self.device),
            dict(train=Pictures(args.images)),
            training(args),
            self.device,
            None,
            False,
            1,
        )
        self._batches = self._load()

    def _load(self) -> Iterator:
        epoch = 0
        while True:
            self.box.pre_epoch_process(epoch=epoch)
            yield from self.box.train_data_loader
            self.box.post_epoch_process()
            epoch += 1

    def loss(self, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of normalised images, (B, 3, 32, 32)."""
        return self.box.forward_process(x, labels, {})

    def step(self) -> float:
        """Take one iteration; return the seconds that its batch took to load."""
        start = time.perf_counter()
        images, labels, extra = next(self._batches)
        loaded = time.perf_counter()
        loss = self.box.forward_process(images.to(self.device), labels.to(self.device), extra)
        self.box.post_forward_process(loss=loss)
        loss.item()  # the example logs it
        return loaded - start


def as_theirs(depth: int, classifier: torch.nn.Module) -> torch.nn.Module:
    """Their ResNet with the weights of ours; the names are the same, and none may be missing."""
    from torchdistill.models.classification.resnet import resnet

    net = resnet(depth, CLASSES, False, False)
    own = {f'fc.{key}': value for key, value in classifier.head.fc.state_dict().items()}
    net.load_state_dict({**classifier.backbone.state_dict(), **own})
    return net


class Sides(Pair):
    """torchdistill and ours, with the same weights."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        super().__init__(args, folder)
        self.all = {THEIRS: Theirs(args, self.teacher, self.student)}
        for precision in precisions(args):
            self.add_ours(precision, array_loader(args.images, args.batch))


def main(argv: list[str] | None = None) -> None:
    args = options(argv, __doc__, workers=0)
    try:
        import torchdistill
    except ImportError:
        sys.exit(MISSING)
    begin(
        args,
        f'resnet{args.teacher} -> resnet{args.depth}, batch {args.batch}, random images; '
        'torchdistill '
        f'{torchdistill.__version__}, {args.workers} loading processes',
    )
    with tempfile.TemporaryDirectory() as folder:
        sides = Sides(args, Path(folder))
        check(sides.losses(), THEIRS)
        times = measure(sides.all, args)
    speeds(times, args.batch)
    ratios = {
        name: times[THEIRS][1] / whole for name, (_, whole) in times.items() if name != THEIRS
    }
    for name, ratio in ratios.items():
        goal(f'{name} / {THEIRS}, images a second', ratio, '>=', WANTED)
    finish(max(ratios.values()))


if __name__ == '__main__':
    main()

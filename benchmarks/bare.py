"""Distillation without a framework: a PyTorch loop over the same networks, tuned for speed."""

import time

import torch
import torch.nn.functional as F
from networks import CLASSES, KD_WEIGHT, MEAN, SGD, STD, TAU
from runners import random_images
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import mmdynakd.models  # noqa: F401
from mmdynakd.models.backbones import CifarResNet


class Net(nn.Module):
    """From (B, 3, 32, 32) to (B, classes), with the weights of a classifier of MMPretrain."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.backbone, self.fc = CifarResNet(classifier.backbone.depth), nn.Linear(64, CLASSES)
        self.backbone.load_state_dict(classifier.backbone.state_dict())
        self.fc.load_state_dict(classifier.head.fc.state_dict())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.backbone(x)[-1].mean((2, 3)))


def folded(net: Net) -> Net:
    """The network in eval mode, with every BatchNorm folded into the convolution before it."""
    net.eval().requires_grad_(False)
    for module in list(net.modules()):
        names = dict(module.named_children())
        if isinstance(module, nn.Sequential) and isinstance(names.get('1'), nn.BatchNorm2d):
            module[0], module[1] = fuse_conv_bn_eval(module[0], module[1]), nn.Identity()
        for number in ('1', '2'):
            conv, norm = names.get(f'conv{number}'), names.get(f'bn{number}')
            if conv is not None and norm is not None:
                setattr(module, f'conv{number}', fuse_conv_bn_eval(conv, norm))
                setattr(module, f'bn{number}', nn.Identity())
    return net


class BareLoop:
    """One teacher and one student; images in memory; random crop and flip by the batch.

    Args:
        teacher: a classifier of MMPretrain, from whose weights the teacher starts.
        student: likewise.
        number: images in memory, of noise.
        half: run under bfloat16 autocast, with the teacher's weights cast once.
    """

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        batch: int,
        number: int,
        device: str,
        half: bool,
    ) -> None:
        self.device, self.half, self.batch = device, half, batch
        self.student = Net(student).train().to(device, memory_format=torch.channels_last)
        self.teacher = folded(Net(teacher)).to(device, memory_format=torch.channels_last)
        if half:
            self.teacher.to(torch.bfloat16)
        self.optimizer = torch.optim.SGD(
            self.student.parameters(), **{k: v for k, v in SGD.items() if k != 'type'}
        )
        images, labels = random_images(number)
        self.images = F.pad(torch.from_numpy(images).permute(0, 3, 1, 2), (4, 4, 4, 4)).to(device)
        self.labels = torch.from_numpy(labels).to(device)
        self.mean, self.std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (MEAN, STD))

    def load(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Load a batch: images (B, 3, 32, 32), normalised, channels_last, and labels (B,)."""
        chosen = torch.randint(0, len(self.labels), (self.batch,), device=self.device)
        top, left = torch.randint(0, 9, (2, self.batch, 1), device=self.device)
        line = torch.arange(32, device=self.device)
        columns = (
            torch.where(torch.rand(self.batch, 1, device=self.device) < 0.5, line, line.flip(0))
            + left
        )
        pixels = self.images[
            chosen[:, None, None], :, (line + top)[:, :, None], columns[:, None, :]
        ]
        x = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return x.contiguous(memory_format=torch.channels_last), self.labels[chosen]

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.split(':')[0], torch.bfloat16, enabled=self.half):
            with torch.no_grad():
                soft = self.teacher(x.to(torch.bfloat16) if self.half else x)
            logits = self.student(x)
        logits, soft = logits.float(), soft.float()
        kl = F.kl_div(
            F.log_softmax(logits / TAU, 1), F.softmax(soft / TAU, 1), reduction='batchmean'
        )
        return F.cross_entropy(logits, y) + KD_WEIGHT * TAU**2 * kl

    def step(self) -> float:
        """Take one step; return the seconds that its batch took to make."""
        start = time.perf_counter()
        x, y = self.load()
        loaded = time.perf_counter()
        loss = self.loss(x, y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        loss.item()  # as a loop that logs
        return loaded - start

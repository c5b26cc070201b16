"""What the distributed tests import by ``custom_imports``: networks, a witness, two faults."""

import functools
import os
import os.path as osp
import signal

import torch
from mmengine.config import config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmpretrain.registry import MODELS
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmdynakd.models import DynaKD

if 'RANK' in os.environ:
    # MMEngine lays out each config it writes, which takes longer than these runs.
    config.FormatCode = lambda text, **_: (text, True)


@MODELS.register_module()
class SmoothConv(nn.Module):
    """Smooth, so that a small difference stays one; batch norm only if asked for."""

    def __init__(self, channels: int = 8, norm: bool = False) -> None:
        super().__init__()
        norms = [nn.BatchNorm2d(channels) if norm else nn.Identity() for _ in range(2)]
        self.body = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1),
            norms[0],
            nn.Tanh(),
            nn.Conv2d(channels, channels, 3, stride=2, padding=1),
            norms[1],
            nn.Tanh(),
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.body(x),)


@MODELS.register_module()
class DoubleDynaKD(DynaKD):
    """All in float64, students, teachers, θ and inputs (normalised by constants in float64)."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.double()


@MODELS.register_module()
class SharedDynaKD(DynaKD):
    """One process computes the students' layers as two would: each on its share of the batch.

    Under autocast a weight's gradient is rounded once a call, so that here it is rounded as often,
    and of the same samples, as on two processes.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        for module in self.lanes.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.forward = functools.partial(by_shares, module.forward)


def by_shares(forward, x: torch.Tensor) -> torch.Tensor:
    out = torch.cat([forward(x[share::2]) for share in range(2)])
    return out[torch.cat([torch.arange(share, len(x), 2) for share in range(2)]).argsort()]


class NoCollective(TorchDispatchMode):
    """Within it, a collective is an error, by whatever function: torch dispatches them all."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert not str(func).startswith('c10d'), f'{func} within a draw'
        return func(*args, **(kwargs or {}))


@HOOKS.register_module()
class RankWitness(Hook):
    """Saves what a process saw and made to ``rank{r}.pth`` of the stage's work dir.

    That is its weights; the samples of each training and each validation batch; and who was drawn
    for each, by lane: ``{sample: (teachers, weights of the loss)}``, a list a step.
    """

    def __init__(self) -> None:
        self.ids, self.upper_ids, self.draws = [], [], {}

    def before_train(self, runner) -> None:
        algorithm = getattr(runner.model, 'module', runner.model)
        for name, lane in algorithm.lanes.items():
            lane.choose = self._noting(lane.choose, self.draws.setdefault(name, []))
        upper_step = algorithm.upper_step

        def noting(data, *args, **kwargs):
            self.upper_ids.append(samples_of(data))
            return upper_step(data, *args, **kwargs)

        algorithm.upper_step = noting

    def _noting(self, choose, drawn: list):

        def choosing(draws, labels):
            with NoCollective():
                choice = choose(draws, labels)
            count = len(self.ids[-1])
            weights = {
                name: torch.as_tensor(weight).expand(count)
                for name, weight in choice.weights.items()
            }
            scale = torch.as_tensor(choice.scale, dtype=torch.float64).expand(count).tolist()
            drawn.append(
                {
                    sample: ([name for name, weight in weights.items() if weight[row]], scale[row])
                    for row, sample in enumerate(self.ids[-1])
                }
            )
            return choice

        return choosing

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.ids.append(samples_of(data_batch))

    def after_train(self, runner) -> None:
        model = getattr(runner.model, 'module', runner.model)
        path = osp.join(runner.work_dir, f'rank{get_rank()}.pth')
        losses = runner.message_hub.log_scalars.get('train/search/upper_loss')
        torch.save(
            dict(
                state_dict=model.state_dict(),
                ids=self.ids,
                upper_ids=self.upper_ids,
                draws=self.draws,
                upper_loss=losses.data[0].tolist() if losses else [],
            ),
            path,
        )


def samples_of(batch: dict) -> list[int]:
    if 'views' in batch:
        return (batch['views']['ids'] % batch['views']['size']).tolist()
    return [sample.sample_idx for sample in batch['data_samples']]


@HOOKS.register_module()
class Fault(Hook):
    """One rank is killed, hangs or raises at iteration ``at`` of the search; ``marker``: once.

    The other ranks go on into the next collective.
    """

    def __init__(self, kind: str, at: int, rank: int, marker: str) -> None:
        self.kind, self.at, self.rank, self.marker = kind, at, rank, marker

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter != self.at or get_rank() != self.rank or osp.exists(self.marker):
            return
        open(self.marker, 'w').close()
        if self.kind == 'error':
            raise RuntimeError('this rank has had enough')
        os.kill(os.getpid(), dict(kill=signal.SIGKILL, hang=signal.SIGSTOP)[self.kind])

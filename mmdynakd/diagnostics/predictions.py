"""What every teacher says about a split, in one pass over its loader; what a network costs."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from mmdynakd.models.algorithms.batch import labels_of
from mmdynakd.models.teachers import OUTPUTS, TeacherEnsemble
from mmdynakd.models.teachers.building import own_inputs

from .accuracy import Predictions

COUNTED = ('conv', 'linear', 'addmm', 'bmm', 'matmul', 'einsum')


class _Record:
    """What one teacher said, batch by batch."""

    def __init__(self) -> None:
        self.predicted: list[torch.Tensor] = []
        self.confidence: list[torch.Tensor] = []
        self.times: list[float] = []
        self.sizes: list[int] = []
        self.classes = 0

    def add(self, name: str, logits: torch.Tensor, seconds: float) -> None:
        if logits.dim() != 2 or not torch.isfinite(logits).all():
            raise ValueError(
                f"teacher '{name}' gives no finite (B, C) logits but {tuple(logits.shape)}: check "
                'its checkpoint and its data_preprocessor'
            )
        top = torch.softmax(logits.float(), dim=1).max(1)
        self.predicted.append(top.indices.cpu())
        self.confidence.append(top.values.clamp(max=1).cpu())  # rounding
        self.times.append(seconds)
        self.sizes.append(len(logits))
        self.classes = logits.shape[1]

    def speed(self) -> float:
        """Images per second; the first of several batches warms up and does not count."""
        first = 1 if len(self.times) > 1 else 0
        return sum(self.sizes[first:]) / max(sum(self.times[first:]), 1e-9)


def collect(
    ensemble: TeacherEnsemble,
    loader: Iterable[Any],
    preprocessor: nn.Module,
    progress: Callable[[int], None] | None = None,
) -> Predictions:
    """Runs every teacher on every batch, under its own preprocessor as in training.

    Args:
        ensemble: the teachers.
        loader: yields batches as MMEngine's loaders do.
        preprocessor: stacks a batch's raw pixels, see
            :func:`mmdynakd.models.algorithms.build.raw_preprocessor`.
        progress: called with the number of batches that are done.

    Returns:
        The predictions of all teachers on all samples, on the CPU.

    Raises:
        ValueError: the loader is empty, a sample has no label or several, or the output of a
            teacher is not finite.

    Examples:
        >>> from mmengine.registry import init_default_scope
        >>> init_default_scope('mmpretrain')
        >>> from mmpretrain.models import ImageClassifier
        >>> from mmpretrain.structures import DataSample
        >>> from mmdynakd.models.preprocessor import BatchPreprocessor
        >>> head = dict(type='mmpretrain.ClsHead')
        >>> network = ImageClassifier(dict(type='mmpretrain.LeNet5', num_classes=10), head=head)
        >>> ensemble = TeacherEnsemble(dict(lenet=dict(model=network)))
        >>> samples = [DataSample().set_gt_label(3), DataSample().set_gt_label(7)]
        >>> batch = dict(inputs=[torch.zeros(1, 32, 32)] * 2, data_samples=samples)
        >>> collect(ensemble, [batch], BatchPreprocessor()).labels
        tensor([3, 7])
    """
    records = {name: _Record() for name in ensemble.names}
    labels: list[torch.Tensor] = []
    for done, batch in enumerate(loader, 1):
        data = preprocessor(batch, training=False)
        labels.append(labels_of(data['data_samples'], torch.device('cpu')))
        for name, record in records.items():
            start = _now(data['inputs'].device)
            logits = ensemble.run([name], data['inputs'])[name][OUTPUTS][0]
            record.add(name, logits, _now(data['inputs'].device) - start)
        if progress is not None:
            progress(done)
    if not labels:
        raise ValueError('the loader is empty: there is nothing to check the teachers on')
    return Predictions(
        torch.cat(labels),
        {name: torch.cat(record.predicted) for name, record in records.items()},
        {name: torch.cat(record.confidence) for name, record in records.items()},
        {name: record.classes for name, record in records.items()},
        {name: record.speed() for name, record in records.items()},
    )


def _now(device: torch.device) -> float:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


def parameters(network: nn.Module) -> int:
    """Counts the parameters of a network.

    Examples:
        >>> parameters(nn.Linear(3, 2))
        8
    """
    return sum(parameter.numel() for parameter in network.parameters())


def multiply_adds(network: nn.Module, inputs: torch.Tensor) -> int | None:
    """Counts the multiply-adds of convolutions and matrix products for one image.

    They are counted as papers and public tables do ("FLOPs", "MAdds"): one multiply-add is one;
    batch norm, activations and pooling are left out.

    Args:
        network: a classifier.
        inputs: (1, C, H, W) raw pixels.

    Returns:
        The number, or None where MMEngine's analyzer cannot trace the network.

    Examples:
        >>> from mmengine.registry import init_default_scope
        >>> init_default_scope('mmpretrain')
        >>> from mmpretrain.models import ImageClassifier
        >>> network = ImageClassifier(dict(type='mmpretrain.LeNet5', num_classes=10))
        >>> multiply_adds(network, torch.zeros(1, 1, 32, 32))
        416520
    """
    from mmengine.analysis import FlopAnalyzer

    try:
        analyzer = FlopAnalyzer(network, own_inputs(network, inputs))
        analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        counts = analyzer.tracer_warnings('none').by_operator()
    except Exception:  # tracing fails in many ways, and the other columns do not need it
        return None
    return int(sum(count for operator, count in counts.items() if operator in COUNTED))

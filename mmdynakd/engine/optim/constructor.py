"""From one config to one optim wrapper for each lane and each θ."""

import copy
from collections.abc import Mapping
from typing import Any

from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.optim.optimizer import DefaultOptimWrapperConstructor
from torch import nn

from mmdynakd.entries import theta_entry
from mmdynakd.names import unknown_names
from mmdynakd.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .wrapper import BilevelOptimWrapper

KEYS = {'type', 'student', 'theta', 'upper_interval', 'warmup', 'max_skipped'}
DEFAULT_THETA = dict(optimizer=dict(type='Adam', lr=0.01, betas=(0.5, 0.999)))


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class BilevelOptimWrapperConstructor:
    """Builds the :class:`BilevelOptimWrapper` for the lanes of a :class:`DynaKD`.

    Args:
        optim_wrapper_cfg: ``student`` and ``theta``, each the config of an MMEngine optim wrapper
            (optimizer, ``clip_grad``, ``accumulative_counts``, ``type='AmpOptimWrapper'`` …;
            ``theta`` is Adam(0.01) by default), ``upper_interval`` and ``warmup`` in iterations,
            ``max_skipped`` in steps.
        paramwise_cfg: MMEngine's, for the students.

    Raises:
        ValueError: there is another key, or no ``student.optimizer``.

    Examples:
        >>> build = BilevelOptimWrapperConstructor(
        ...     dict(student=dict(optimizer=dict(type='SGD', lr=0.1)), warmup=100)
        ... )
        >>> build.cfg['warmup']
        100
    """

    def __init__(
        self,
        optim_wrapper_cfg: Mapping[str, Any],
        paramwise_cfg: dict[str, Any] | None = None,
    ) -> None:
        unknown = unknown_names(optim_wrapper_cfg, sorted(KEYS))
        student = optim_wrapper_cfg.get('student')
        if unknown or not isinstance(student, Mapping) or 'optimizer' not in student:
            raise ValueError(
                f'optim_wrapper takes {sorted(KEYS)} with student=dict(optimizer=…); unknown: '
                f'[{unknown}]'
            )
        self.cfg, self.paramwise_cfg = optim_wrapper_cfg, paramwise_cfg

    def __call__(self, model: nn.Module) -> BilevelOptimWrapper:
        """Build the optim wrapper of a model.

        Args:
            model: a DynaKD, perhaps in a distributed wrapper.

        Raises:
            ValueError: another model.
        """
        algorithm: Any = model.module if is_model_wrapper(model) else model
        if not hasattr(algorithm, 'lanes'):
            raise ValueError(
                'BilevelOptimWrapper trains the lanes of a DynaKD, not a '
                f'{type(algorithm).__name__}'
            )
        entries: dict[str, OptimWrapper] = {}
        for name, lane in algorithm.lanes.items():
            trained = nn.ModuleDict(dict(student=lane.student, distiller=lane.distiller))
            entries[name] = self._build('student', trained, self.paramwise_cfg)
            if lane.learns_theta:
                entries[theta_entry(name)] = self._build('theta', lane.selection, None)
        options = {
            k: self.cfg[k] for k in ('upper_interval', 'warmup', 'max_skipped') if k in self.cfg
        }
        return BilevelOptimWrapper(**options, **entries)

    def _build(
        self, key: str, module: nn.Module, paramwise_cfg: dict[str, Any] | None
    ) -> OptimWrapper:
        cfg = copy.deepcopy(dict(self.cfg.get(key) or DEFAULT_THETA))
        cfg.setdefault('type', 'OptimWrapper')
        return DefaultOptimWrapperConstructor(cfg, paramwise_cfg)(module)

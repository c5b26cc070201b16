"""What of a distiller's config cannot work with several teachers, said at the build."""
import inspect
from collections.abc import Mapping

from mmrazor.registry import MODELS as RAZOR_MODELS


def check_config(cfg: Mapping) -> None:
    """Raises ValueError for what has no meaning with several teachers."""
    if cfg.get('distill_deliveries'):
        raise ValueError('distill_deliveries hand data from one teacher to the student within a forward pass; '
                         'with several teachers that has no meaning: remove distill_deliveries')


def check_losses(configs: Mapping[str, Mapping]) -> None:
    """Only what has 'loss' in its name is added up, MMEngine's rule: without one nothing would be distilled."""
    for cfg in configs.values():
        names = list(cfg.get('distill_losses') or {})
        if not any('loss' in name for name in names):
            raise ValueError(f"distill_losses {names}: one must have 'loss' in its name, or nothing is learned")


def check_theta_gradient(configs: Mapping[str, Mapping]) -> None:
    """``teacher_detach=True``, a default of MMRazor's, silently cuts θ's gradient through mixed outputs."""
    for cfg in configs.values():
        for name, loss in cfg['distill_losses'].items():
            if loss.get('teacher_detach', _detaches_by_default(loss)):
                raise ValueError(f"distill_losses.{name} ({loss.get('type')}) has teacher_detach=True (MMRazor's "
                                 'default), which cuts the gradient of θ through the mixed outputs: set '
                                 "teacher_detach=False, or relaxation='losses'")


def _detaches_by_default(loss: Mapping) -> bool:
    if 'type' not in loss:
        return False  # an error of its own, at the build
    kind = loss['type'] if isinstance(loss['type'], type) else RAZOR_MODELS.get(loss['type'])
    parameter = inspect.signature(kind).parameters.get('teacher_detach') if kind is not None else None
    return parameter is not None and parameter.default is True

"""What in a distiller's config cannot work with several teachers, found at the build."""

import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mmengine.logging import print_log
from mmrazor.registry import MODELS as RAZOR_MODELS

Settings = Mapping[str, Any]

_GENERATOR = 'it trains a generator of images from one teacher (DAFL); no student is compared'
_DATA_FREE = 'it is an algorithm that generates its own images; use mmdynakd.DynaKD in its place'
NOT_COMPOSING = {  # MMRazor's distillers, losses and algorithms: why several teachers cannot use it
    'BYOTDistiller': 'its teacher is the deepest exit of the student itself, so there is no '
    'teacher to choose',
    'ActivationLoss': _GENERATOR,
    'OnehotLikeLoss': _GENERATOR,
    'InformationEntropyLoss': _GENERATOR,
    'DataFreeDistillation': _DATA_FREE,
    'DAFLDataFreeDistillation': _DATA_FREE,
    'SelfDistill': 'it is an algorithm without a teacher',
    'FpnTeacherDistill': 'it is an algorithm for detectors, whose teacher stops at its neck; use '
    'mmdynakd.DynaKD in its place',
    'OverhaulFeatureDistillation': "it is an algorithm: write type='OFDDistiller', one per teacher",
    'SingleTeacherDistill': 'it is an algorithm: use mmdynakd.DynaKD in its place',
}
NOT_BY_OUTPUTS = {  # losses whose gradient by the teacher's outputs is missing or wrong
    'ABLoss': 'it sees only the signs of the teacher, which have no gradient',
    'CrossEntropyLoss': "the teacher's decision has no gradient",
    'DKDLoss': 'its masked classes have probability 0, where the derivative by the teacher is NaN',
    'FBKDLoss': 'its masks detach the teacher',
    'WSLD': 'its weight of a sample detaches the teacher',
}
# Connectors that cut the gradient to the teacher's record, depending on their config.
DETACHING: dict[str, Callable[[Settings], bool]] = {
    'OFDTeacherConnector': lambda connector: True,
    'Paraphraser': lambda connector: connector.get('phase') == 'train',
}


def check_config(cfg: Settings) -> None:
    """Check what has no meaning with several teachers; known traps are warnings in the log.

    Args:
        cfg: Config of a MMRazor distiller.

    Raises:
        ValueError: For deliveries.

    Examples:
        >>> check_config(dict(distill_deliveries=dict(mixup={})))
        Traceback (most recent call last):
        ValueError: distill_deliveries hand data from one teacher to the student within a forward \
pass, which has no meaning with several teachers: remove distill_deliveries
    """
    if cfg.get('distill_deliveries'):
        raise ValueError(
            'distill_deliveries hand data from one teacher to the student within a forward pass, '
            'which has no meaning with several teachers: remove distill_deliveries'
        )
    for name, loss in (cfg.get('distill_losses') or {}).items():
        if _listed(loss.get('type'), ['DKDLoss']) and loss.get('reduction') == 'mean':
            _warn(
                f"distill_losses.{name}: MMRazor's DKDLoss(reduction='mean') is a sum over the "
                "batch, B times too large; reduction='batchmean' is the mean"
            )
        if _listed(loss.get('type'), ['CRDLoss']) and loss.get('loss_weight', 1) != 1:
            _warn(
                f"distill_losses.{name}: MMRazor's CRDLoss ignores "
                f'loss_weight={loss["loss_weight"]!r}, its weight is 1; change '
                'student_loss_weight to change the ratio of the losses'
            )


def check_losses(configs: Mapping[str, Settings]) -> None:
    """Check that the components compose with several teachers, and that there is a loss.

    MMEngine adds up what has 'loss' in its name. Without such a name nothing would be distilled.

    Args:
        configs: Configs of MMRazor distillers by name.

    Raises:
        ValueError: For a component that does not compose, or no loss by name.

    Examples:
        >>> check_losses(dict(shared=dict(distill_losses=dict(kl=dict(type='KLDivergence')))))
        Traceback (most recent call last):
        ValueError: distill_losses ['kl']: one must have 'loss' in its name, or nothing is learned
    """
    for cfg in configs.values():
        _check_composes(cfg)
        names = list(cfg.get('distill_losses') or {})
        if not any('loss' in name for name in names):
            raise ValueError(
                f"distill_losses {names}: one must have 'loss' in its name, or nothing is learned"
            )


def check_theta_gradient(configs: Mapping[str, Settings]) -> None:
    """Check that θ's gradient gets through the mixed outputs.

    Some losses and connectors cut it silently, by MMRazor's defaults.

    Args:
        configs: Configs of MMRazor distillers by name.

    Raises:
        ValueError: For a loss or a connector that detaches the teacher.

    Examples:
        >>> loss = dict(type='KLDivergence', tau=4)
        >>> check_theta_gradient(dict(shared=dict(distill_losses=dict(loss_kl=loss))))
        Traceback (most recent call last):
        ValueError: distill_losses.loss_kl (KLDivergence) has teacher_detach=True (MMRazor's \
default), which cuts the gradient of θ through the mixed outputs: set teacher_detach=False, or \
mix='losses'
    """
    for cfg in configs.values():
        for name, loss in cfg['distill_losses'].items():
            _check_loss_gradient(name, loss)
        for name, connector in _connectors(cfg):
            kind = _listed(connector.get('type'), DETACHING)
            if kind and DETACHING[kind](connector):
                raise ValueError(
                    f'connectors.{name} ({kind}) detaches the teacher, which cuts the gradient of '
                    "θ through the mixed outputs: set mix='losses'"
                )


def _check_loss_gradient(name: str, loss: Settings) -> None:
    kind = _listed(loss.get('type'), NOT_BY_OUTPUTS)
    if kind:
        raise ValueError(
            f'distill_losses.{name} ({kind}): {NOT_BY_OUTPUTS[kind]}, so the gradient of θ '
            "through mixed outputs would be wrong: set mix='losses'"
        )
    if loss.get('teacher_detach', _detaches_by_default(loss)):
        raise ValueError(
            f'distill_losses.{name} ({loss.get("type")}) has teacher_detach=True '
            "(MMRazor's default), which cuts the gradient of θ through the mixed outputs: set "
            "teacher_detach=False, or mix='losses'"
        )


def _check_composes(cfg: Settings) -> None:
    losses = cfg.get('distill_losses') or {}
    kinds = {f'distill_losses.{name}': loss.get('type') for name, loss in losses.items()}
    kinds['distiller'] = cfg.get('type')
    for key, kind in kinds.items():
        name = _listed(kind, NOT_COMPOSING)
        if name:
            raise ValueError(
                f'{key}: {name} does not compose with several teachers: '
                f'{NOT_COMPOSING[name]} (docs/compose.md)'
            )


def _connectors(cfg: Settings) -> Iterator[tuple[str, Settings]]:
    """Every connector by name; an entry may be a chain of several."""
    for name, entry in (cfg.get('connectors') or {}).items():
        for connector in [entry] if isinstance(entry, Mapping) else entry:
            yield name, connector


def _component(kind: object) -> object | None:
    """The component of a ``type``, a name or a class; None for a name that nobody registered."""
    if isinstance(kind, str):
        found: object | None = RAZOR_MODELS.get(kind)
        return found
    return kind


def _listed(kind: object, names: Iterable[str]) -> str | None:
    """Which of MMRazor's components ``names`` a ``type`` is; None if it is another one."""
    component = _component(kind)
    if component is None:
        return None
    return next((name for name in names if RAZOR_MODELS.get(name) is component), None)


def _detaches_by_default(loss: Settings) -> bool:
    component = _component(loss.get('type'))
    if not callable(component):
        return False  # an error of its own, at the build
    parameter = inspect.signature(component).parameters.get('teacher_detach')
    return parameter is not None and parameter.default is True


def _warn(message: str) -> None:
    print_log(message, 'current', logging.WARNING)

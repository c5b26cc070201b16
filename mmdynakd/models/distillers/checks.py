"""What of a distiller's config cannot work with several teachers, said at the build."""

import inspect
import logging
from collections.abc import Iterator, Mapping

from mmengine.logging import print_log
from mmrazor.registry import MODELS as RAZOR_MODELS

_GENERATOR = 'it trains a generator of images from one teacher (DAFL); no student is compared'
_DATA_FREE = 'it is an algorithm that makes images with a generator of its own; mmdynakd.DynaKD stands in its place'
NOT_COMPOSING = {  # type of a distiller or a loss: why several teachers cannot use it
    'BYOTDistiller': 'its teacher is the deepest exit of the student itself: there is nothing to '
    'employ',
    'ActivationLoss': _GENERATOR,
    'OnehotLikeLoss': _GENERATOR,
    'InformationEntropyLoss': _GENERATOR,
    'DataFreeDistillation': _DATA_FREE,
    'DAFLDataFreeDistillation': _DATA_FREE,
    'SelfDistill': 'it is an algorithm without a teacher',
    'FpnTeacherDistill': 'it is an algorithm for detectors, whose teacher runs no further than its '
    'neck; '
    'mmdynakd.DynaKD stands in its place',
    'OverhaulFeatureDistillation': "it is an algorithm: write type='OFDDistiller', one a teacher",
    'SingleTeacherDistill': 'it is an algorithm: mmdynakd.DynaKD stands in its place',
}
NOT_BY_OUTPUTS = {  # losses without a gradient, or with a wrong one, with respect to the teacher's outputs
    'ABLoss': 'of a teacher it sees signs, which have no gradient',
    'CrossEntropyLoss': "the teacher's decision has no gradient",
    'DKDLoss': 'its masked classes have probability 0, where a divergence has no derivative by the '
    'teacher (NaN)',
    'FBKDLoss': 'its masks detach the teacher',
    'WSLD': 'its weight of a sample detaches the teacher',
}
DETACHING = {  # connectors behind which a teacher's record has no gradient
    'OFDTeacherConnector': lambda connector: True,
    'Paraphraser': lambda connector: connector.get('phase') == 'train',
}


def check_config(cfg: Mapping) -> None:
    """Raises ValueError for what has no meaning with several teachers; warns of a known trap."""
    if cfg.get('distill_deliveries'):
        raise ValueError(
            'distill_deliveries hand data from one teacher to the student within a forward pass; '
            'with several teachers that has no meaning: remove distill_deliveries'
        )
    for name, loss in (cfg.get('distill_losses') or {}).items():
        if _plain(loss.get('type')) == 'DKDLoss' and loss.get('reduction') == 'mean':
            print_log(
                f"distill_losses.{name}: MMRazor's DKDLoss(reduction='mean') is a sum over the "
                'batch, B times '
                "too large; reduction='batchmean' is the mean",
                'current',
                logging.WARNING,
            )
        if _plain(loss.get('type')) == 'CRDLoss' and loss.get('loss_weight', 1) != 1:
            print_log(
                f"distill_losses.{name}: MMRazor's CRDLoss ignores "
                f'loss_weight={loss["loss_weight"]!r}, its '
                'weight is 1; student_loss_weight changes the ratio of the losses',
                'current',
                logging.WARNING,
            )


def check_losses(configs: Mapping[str, Mapping]) -> None:
    """Only what has 'loss' in its name is added up, MMEngine's rule: without one nothing would be
    distilled.
    """
    for cfg in configs.values():
        _check_composes(cfg)
        names = list(cfg.get('distill_losses') or {})
        if not any('loss' in name for name in names):
            raise ValueError(
                f"distill_losses {names}: one must have 'loss' in its name, or nothing is learned"
            )


def _check_composes(cfg: Mapping) -> None:
    losses = cfg.get('distill_losses') or {}
    kinds = {f'distill_losses.{name}': loss.get('type') for name, loss in losses.items()}
    kinds['distiller'] = cfg.get('type')
    for key, kind in kinds.items():
        if _plain(kind) in NOT_COMPOSING:
            raise ValueError(
                f'{key}: {_plain(kind)} does not compose with several teachers: '
                f'{NOT_COMPOSING[_plain(kind)]} (docs/compose.md)'
            )


def check_theta_gradient(configs: Mapping[str, Mapping]) -> None:
    """Losses and connectors that silently cut θ's gradient through mixed outputs, as MMRazor's
    defaults do.
    """
    for cfg in configs.values():
        for name, loss in cfg['distill_losses'].items():
            kind = _plain(loss.get('type'))
            if kind in NOT_BY_OUTPUTS:
                raise ValueError(
                    f'distill_losses.{name} ({kind}): {NOT_BY_OUTPUTS[kind]}, so that the gradient '
                    'of θ '
                    "through mixed outputs would be wrong: set mix='losses'"
                )
            if loss.get('teacher_detach', _detaches_by_default(loss)):
                raise ValueError(
                    f'distill_losses.{name} ({loss.get("type")}) has teacher_detach=True '
                    "(MMRazor's "
                    'default), which cuts the gradient of θ through the mixed outputs: set '
                    "teacher_detach=False, or mix='losses'"
                )
        for name, connector in _connectors(cfg):
            kind = _plain(connector.get('type'))
            if kind in DETACHING and DETACHING[kind](connector):
                raise ValueError(
                    f'connectors.{name} ({kind}) detaches the teacher, which cuts the gradient of '
                    'θ '
                    "through the mixed outputs: set mix='losses'"
                )


def _connectors(cfg: Mapping) -> Iterator[tuple[str, Mapping]]:
    """Every connector by name; one may be a chain of several."""
    for name, entry in (cfg.get('connectors') or {}).items():
        for connector in [entry] if isinstance(entry, Mapping) else entry:
            yield name, connector


def _plain(kind: str | type | None) -> str | None:
    """A component's name without its scope."""
    return kind.__name__ if isinstance(kind, type) else kind and kind.split('.')[-1]


def _detaches_by_default(loss: Mapping) -> bool:
    if 'type' not in loss:
        return False  # an error of its own, at the build
    kind = loss['type'] if isinstance(loss['type'], type) else RAZOR_MODELS.get(loss['type'])
    parameter = (
        inspect.signature(kind).parameters.get('teacher_detach') if kind is not None else None
    )
    return parameter is not None and parameter.default is True

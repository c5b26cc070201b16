"""Keys of a config that have another name now: the old ones work for one more version."""

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from mmengine.logging import print_log

RENAMED = {'distribution': 'selection', 'relaxation': 'mix'}

Init = TypeVar('Init', bound=Callable[..., None])


def new_keys(settings: Mapping[str, Any], place: str = 'model') -> dict[str, Any]:
    """The settings of the model or of a lane, under the names of this version.

    A warning in the log says the new name of each old key. Values stay as they are.

    Args:
        settings: of :class:`DynaKD`, or overrides of a lane; left as they were.
        place: where in the config they stand, for the messages.

    Raises:
        ValueError: an old key beside its new name.

    Examples:
        >>> new_keys(dict(selection=dict(probs='uniform'), mix='losses'))
        {'selection': {'probs': 'uniform'}, 'mix': 'losses'}
        >>> new_keys(dict(distribution=None, student_loss_weight=1.0), 'lanes.ce')
        {'selection': None, 'student_loss_weight': 1.0}
    """
    for old, new in RENAMED.items():
        if old not in settings:
            continue
        if new in settings:
            raise ValueError(
                f'{place} has both {old!r} and {new!r}: remove {old!r}, the old name of {new!r}'
            )
        print_log(
            f'{place}: the key {old!r} is called {new!r} now; the old name is deprecated and will '
            'be an error in the next version',
            'current',
            logging.WARNING,
        )
    return {RENAMED.get(key, key): value for key, value in settings.items()}


def takes_old_keys(init: Init) -> Init:
    """Decorates the constructor of :class:`DynaKD`, so that it takes old keys too.

    ``distribution=None`` was the default of the model, a θ that is learned.

    Examples:
        >>> class Model:
        ...     @takes_old_keys
        ...     def __init__(self, mix='outputs'):
        ...         self.mix = mix
        >>> Model(relaxation='losses').mix
        'losses'
    """

    @functools.wraps(init)
    def renamed(*args: Any, **kwargs: Any) -> None:
        if kwargs.get('distribution', '') is None:
            del kwargs['distribution']
        init(*args, **new_keys(kwargs))

    return cast(Init, renamed)

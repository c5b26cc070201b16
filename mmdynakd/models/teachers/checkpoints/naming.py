"""From the names in a public checkpoint to those of the model that it is for."""

import re
from collections.abc import Iterable

from .containers import LayoutError, Weights

OURS = ('backbone.', 'head.')
CLASSIFIER = re.compile(r'^(?:fc|linear|classifier)\.(weight|bias)$')
NUMBERED = re.compile(r'^classifier\.(\d+)\.')
SHORTCUT = re.compile(r'^(layer\d+\.\d+)\.shortcut\.')
# In front of every name if the network is in a wrapper, as timm's in MMPretrain's TimmClassifier.
WHOLE = 'model.'


def rename(weights: Weights, own: Iterable[str]) -> tuple[str, Weights]:
    """Give weights the names that the model has.

    If the model is not a classifier of MMPretrain (MMPretrain's ``TimmClassifier``, or any module),
    the file's names are kept. If it is one, the file's names are kept if they are MMPretrain's.
    Other names change by these rules:

    - The classifier becomes ``head.fc.*``: ``fc.*``, ``linear.*``, ``classifier.*``, or the only
      numbered ``classifier.N.*``. Several numbered ones (VGG of pytorch-cifar-models) become
      ``head.classifier.N.*``.
    - ``layer*.N.shortcut.*`` becomes ``downsample`` if the model calls it that (RepDistiller's
      ResNet50).
    - Everything else gets ``backbone.`` in front.

    Args:
        weights: The weights under the file's names.
        own: The model's names.

    Returns:
        ``'mmpretrain'``, ``'plain'``, or ``'same'`` for the model's own names; and the weights
        under the model's names.

    Raises:
        LayoutError: If two tensors get the same name.

    Examples:
        >>> import torch
        >>> weights = {'conv1.weight': torch.zeros(1), 'linear.bias': torch.zeros(1)}
        >>> naming, renamed = rename(weights, ['backbone.conv1.weight', 'head.fc.bias'])
        >>> naming, list(renamed)
        ('plain', ['backbone.conv1.weight', 'head.fc.bias'])
    """
    own = set(own)
    weights = {
        key: value for key, value in weights.items() if not key.startswith('data_preprocessor.')
    }
    if (
        weights
        and all(key.startswith(WHOLE) for key in weights)
        and not any(key.startswith(WHOLE) for key in own)
    ):
        weights = {key.removeprefix(WHOLE): value for key, value in weights.items()}
    if any(key.startswith(OURS) for key in weights) and _is_classifier(own):
        return 'mmpretrain', weights
    if not _is_classifier(own):
        return 'same', weights
    names = _plain_names(list(weights), own)
    if len(set(names.values())) < len(names):
        twice = sorted(name for name in set(names.values()) if list(names.values()).count(name) > 1)
        raise LayoutError(f'holds two tensors for {twice[0]!r}')
    return 'plain', {names[key]: value for key, value in weights.items()}


def _is_classifier(names: Iterable[str]) -> bool:
    """Whether a classifier of MMPretrain has these names; timm's ViT has a ``head.`` too."""
    return any(name.startswith('backbone.') for name in names)


def _plain_names(keys: list[str], own: set[str]) -> dict[str, str]:
    numbers = {found.group(1) for found in map(NUMBERED.match, keys) if found}
    renamed = '.downsample.' in ' '.join(own) and '.shortcut.' not in ' '.join(own)
    return {key: _plain_name(key, numbers, renamed) for key in keys}


def _plain_name(key: str, numbers: set[str], shortcut_is_downsample: bool) -> str:
    if CLASSIFIER.match(key):
        return CLASSIFIER.sub(r'head.fc.\1', key)
    if NUMBERED.match(key):
        return NUMBERED.sub('head.fc.', key) if len(numbers) == 1 else f'head.{key}'
    if shortcut_is_downsample:
        key = SHORTCUT.sub(r'\1.downsample.', key)
    return f'backbone.{key}'

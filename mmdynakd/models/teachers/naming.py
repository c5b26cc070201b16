"""From the names of a public checkpoint to those of the model that it is for."""

import re
from collections.abc import Iterable

from .containers import LayoutError, Weights

OURS = ('backbone.', 'head.')
CLASSIFIER = re.compile(r'^(?:fc|linear|classifier)\.(weight|bias)$')
NUMBERED = re.compile(r'^classifier\.(\d+)\.')
SHORTCUT = re.compile(r'^(layer\d+\.\d+)\.shortcut\.')
WHOLE = 'model.'  # in front of every name of a network that lies in a wrapper, as timm's in MMPretrain's classifier


def rename(weights: Weights, own: Iterable[str]) -> tuple[str, Weights]:
    """Give weights the names that the model has.

    A model without ``backbone.*`` and ``head.*`` (MMPretrain's ``TimmClassifier``, or any module)
    is given the file's names as they are. A MMPretrain classifier is given those of MMPretrain as
    they are, and plain ones by rules:

    - the classifier, ``fc.*``, ``linear.*``, ``classifier.*`` or the only numbered
      ``classifier.N.*``, becomes
      ``head.fc.*``; several numbered ones (chenyaofo's VGG) become ``head.classifier.N.*``
    - ``layer*.N.shortcut.*`` becomes ``downsample`` where the model calls it so (RepDistiller's
      ResNet50)
    - ``backbone.`` comes in front of everything else

    Args:
        weights: By the file's names.
        own: The model's names.

    Returns:
        ``'mmpretrain'``, ``'plain'`` or ``'same'`` (the model's own names), and the weights by the
        model's names.

    Raises:
        LayoutError: If two tensors come to the same name.
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
    """Whether these are names of a MMPretrain classifier; timm's ViT has a ``head.`` too, but no
    ``backbone.``.
    """
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

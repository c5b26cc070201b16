"""Child registries of MMEngine's. Each imports its own components, so ``mmdynakd.X`` just works.

Examples:
    >>> DATASETS.get('mmdynakd.Digits').__name__
    'Digits'
"""

from mmengine import registry as root


def _child(parent: root.Registry, *locations: str) -> root.Registry:
    return root.Registry(parent.name, parent=parent, scope='mmdynakd', locations=list(locations))


MODELS = _child(root.MODELS, 'mmdynakd.models')
DATASETS = _child(root.DATASETS, 'mmdynakd.datasets')
DATA_SAMPLERS = _child(root.DATA_SAMPLERS, 'mmdynakd.datasets')
FUNCTIONS = _child(root.FUNCTIONS, 'mmdynakd.datasets')
LOOPS = _child(root.LOOPS, 'mmdynakd.engine')
HOOKS = _child(root.HOOKS, 'mmdynakd.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS, 'mmdynakd.engine')
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS, 'mmdynakd.engine')

# This package's own.
CHECKPOINT_LAYOUTS = root.Registry('checkpoint layout', scope='mmdynakd')
EXECUTORS = root.Registry('executor', scope='mmdynakd', locations=['mmdynakd.evaluation.executors'])

"""What is trained, and what it is trained with: students, teachers, selections, distillers, losses.

When they run belongs to ``engine/``, and mathematics that needs no module to ``functional/``.
"""

from mmdynakd import compat

compat.load_mmrazor()

from .algorithms import DynaKD  # noqa: E402
from .backbones import *  # noqa: E402, F403
from .distillers import CategoricalDistiller  # noqa: E402
from .heads import *  # noqa: E402, F403
from .losses import *  # noqa: E402, F403
from .selections import CategoricalDistribution  # noqa: E402

__all__ = ['CategoricalDistiller', 'CategoricalDistribution', 'DynaKD']

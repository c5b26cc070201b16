"""Distillation losses that MMRazor lacks, as modules for a distiller's config.

Write ``type='mmdynakd.X'`` there. Mathematics does not belong here, but in ``functional/``.
"""

from .feature_mse import FeatureMSELoss
from .logit_std import LogitStdKDLoss
from .mlkd import MLKDLoss

__all__ = ['FeatureMSELoss', 'LogitStdKDLoss', 'MLKDLoss']

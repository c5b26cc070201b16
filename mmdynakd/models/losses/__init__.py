"""Losses that MMRazor lacks; in a distiller's config ``type='mmdynakd.X'``."""

from .feature_mse import FeatureMSELoss
from .logit_std import LogitStdKDLoss
from .mlkd import MLKDLoss

__all__ = ['FeatureMSELoss', 'LogitStdKDLoss', 'MLKDLoss']

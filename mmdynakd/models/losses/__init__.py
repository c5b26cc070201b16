"""Losses that MMRazor lacks; in a distiller's config ``type='mmdynakd.X'``."""
from .feature_mse import FeatureMSELoss

__all__ = ['FeatureMSELoss']

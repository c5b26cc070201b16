"""Distillation losses that MMRazor lacks, by sample."""
import torch


def feature_mse(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of two features, (B, ...) each, within every sample: (B,).

    The form of CA-MKD's feature part (Zhang et al., ICASSP 2022, eq. 5, as its code averages it).
    """
    return (student - teacher).pow(2).flatten(1).mean(1)

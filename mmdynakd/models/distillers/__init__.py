"""What compares a student with its teachers: MMRazor's distillers, one or one per teacher."""

from .categorical import CategoricalDistiller

__all__ = ['CategoricalDistiller']

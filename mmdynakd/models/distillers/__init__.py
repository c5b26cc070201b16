from .categorical import CategoricalDistiller

__all__ = ['CategoricalDistiller']

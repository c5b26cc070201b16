"""Pure mathematics on tensors and numbers: no registry, no state, no import of an mm package."""

from .augment import crop_flip
from .draws import Draws, gumbel, invert_cdf, invert_cdfs, uniform, uniforms, view_uniforms
from .hypergradient import NoHypergradientError, first_order, unrolled
from .mixing import mix, weighted_loss
from .simplex import as_simplex, as_simplices, entropy, rank_weights, total_variation

__all__ = [
    'Draws',
    'NoHypergradientError',
    'as_simplex',
    'as_simplices',
    'crop_flip',
    'entropy',
    'first_order',
    'gumbel',
    'invert_cdf',
    'invert_cdfs',
    'mix',
    'rank_weights',
    'total_variation',
    'uniform',
    'uniforms',
    'unrolled',
    'view_uniforms',
    'weighted_loss',
]

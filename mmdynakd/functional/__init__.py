"""Pure functions on tensors and numbers: no registry, no state, an equation number each."""
from .draws import invert_cdf, uniform
from .hypergradient import NoHypergradientError, first_order
from .mixing import mix
from .simplex import as_simplex, entropy, rank_weights, total_variation

__all__ = [
    'NoHypergradientError', 'as_simplex', 'entropy', 'first_order', 'invert_cdf', 'mix', 'rank_weights',
    'total_variation', 'uniform'
]

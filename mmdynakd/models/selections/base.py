from dataclasses import dataclass

from mmdynakd.functional.mixing import Weight


@dataclass(frozen=True)
class Choice:
    """Who teaches in one step.

    Attributes:
        weights: ``{teacher: weight}`` of the teachers that must run; what the mix multiplies. A weight is a number,
            a 0-dim tensor or (B,), one a sample. A draw has one teacher, of weight 1.
        scale: factor on the distillation loss (θ̂ in eq. 4).
    """
    weights: dict[str, Weight]
    scale: float = 1.0

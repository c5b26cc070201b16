"""mix() against a plain loop."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmdynakd.functional import mix


def records(n, shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(n)]


def loop(tensors, weights):
    """Σ_i w_i r_i element by element; a (B,) weight is one a sample."""
    out = torch.zeros_like(tensors[0])
    for weight, tensor in zip(weights, tensors, strict=True):
        for b in range(len(tensor)):
            own = (
                float(weight[b])
                if isinstance(weight, torch.Tensor) and weight.dim()
                else float(weight)
            )
            out[b] += own * tensor[b]
    return out


def close(first, second):
    torch.testing.assert_close(first, second, rtol=1e-14, atol=1e-14)


@given(st.integers(1, 4), st.sampled_from([(3,), (3, 5), (3, 2, 2, 2), (1, 4)]), st.booleans())
def test_scalar_weights(n, shape, tensors):
    weights = [0.3 + 0.4 * i for i in range(n)]
    given_weights = [torch.tensor(w, dtype=torch.float64) for w in weights] if tensors else weights
    close(mix(records(n, shape), given_weights), loop(records(n, shape), weights))


@given(st.integers(1, 4), st.sampled_from([(3,), (3, 5), (3, 2, 2, 2)]))
def test_one_weight_a_sample(n, shape):
    weights = records(n, (3,), seed=1)
    close(mix(records(n, shape), weights), loop(records(n, shape), weights))


def test_a_square_record_takes_a_weight_a_sample_not_a_column():
    ones = torch.ones(2, 2)
    assert mix([ones, ones], [torch.tensor([1.0, 2.0]), torch.tensor([0.0, 0.0])]).tolist() == [
        [1, 1],
        [2, 2],
    ]


def test_nested_records_keep_their_structure():
    made = [
        (a, [b, (c,)])
        for a, b, c in zip(records(3, (2, 4)), records(3, (2, 1), 1), records(3, (2, 2, 2), 2))
    ]
    weights = [
        0.5,
        torch.tensor([0.1, 0.9], dtype=torch.float64),
        torch.tensor(-2.0, dtype=torch.float64),
    ]
    mixed = mix(made, weights)
    assert isinstance(mixed, tuple)
    assert isinstance(mixed[1], list)
    assert isinstance(mixed[1][1], tuple)
    close(mixed[0], loop([r[0] for r in made], weights))
    close(mixed[1][0], loop([r[1][0] for r in made], weights))
    close(mixed[1][1][0], loop([r[1][1][0] for r in made], weights))


@pytest.mark.parametrize(
    'record', [torch.randn(2, 3), (torch.randn(2), [torch.randn(2)]), 'anything']
)
@pytest.mark.parametrize('weight', [1, 1.0])
def test_one_record_of_weight_one_is_the_same_object(record, weight):
    assert mix([record], [weight]) is record


def test_one_record_of_another_weight_is_scaled():
    record = torch.randn(2, 3)
    assert torch.equal(mix([record], [0.5]), 0.5 * record)
    assert torch.equal(mix([(record,)], [0.5])[0], 0.5 * record)


def test_a_weight_that_needs_a_gradient_gets_one_even_at_one():
    """A searched θ of one teacher is 1 too, and must stay in the graph."""
    weight = torch.ones((), requires_grad=True)
    mix([torch.full((2,), 3.0)], [weight]).sum().backward()
    assert weight.grad.item() == 6


@pytest.mark.parametrize(
    ('made', 'message'),
    [
        ([torch.zeros(2, 3), torch.zeros(2, 4)], r"\(2, 3\).*\(2, 4\).*mix='losses'"),
        (
            [torch.zeros(2, 1), torch.zeros(2, 4)],
            'cannot be averaged',
        ),  # broadcasting would accept it
        ([torch.zeros(2, 3), (torch.zeros(2, 3),)], 'tuple'),
        ([(torch.zeros(2),), (torch.zeros(2), torch.zeros(2))], 'different lengths'),
        ([(torch.zeros(2),), (torch.zeros(3),)], 'cannot be averaged'),
        (['a', 'b'], 'type str cannot be averaged'),
        ([{'a': 1}, {'a': 2}], 'type dict cannot be averaged'),
    ],
)
def test_records_that_cannot_be_averaged(made, message):
    with pytest.raises(ValueError, match=message):
        mix(made, [0.5, 0.5])

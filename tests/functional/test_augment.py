"""Batched crop and flip against MMPretrain's transforms and plain loops; their random numbers."""

import itertools
from unittest import mock

import numpy as np
import pytest
import torch
from mmcv.transforms import RandomFlip
from mmpretrain.datasets import RandomCrop

from mmdynakd.functional import crop_flip, view_uniforms
from mmdynakd.functional.augment import _by_blocks, _by_pixels
from mmdynakd.functional.philox import philox4x32

CHI2_999 = {
    1: 10.828,
    15: 37.697,
    63: 103.442,
    255: 330.520,
}  # fixed seeds: each bound holds or not for ever
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA GPU on this machine')
WAYS = [
    (crop_flip, 'cpu'),
    (_by_pixels, 'cpu'),
    (_by_blocks, 'cpu'),
    pytest.param(crop_flip, 'cuda', marks=GPU),
]


def random_images(*shape, seed=0):
    return torch.randint(
        0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def every_view(padding):
    """All offsets with both flips: (B, 2) and (B,)."""
    side = range(2 * padding + 1)
    rows = list(itertools.product(side, side, (False, True)))
    return torch.tensor([row[:2] for row in rows]), torch.tensor([row[2] for row in rows])


def plain(image, offset, flip, padding):
    """One image (C, H, W), pixel by pixel."""
    channels, height, width = image.shape
    out = torch.zeros_like(image)
    for c, i, j in itertools.product(range(channels), range(height), range(width)):
        y, x = i + offset[0] - padding, (width - 1 - j if flip else j) + offset[1] - padding
        if 0 <= y < height and 0 <= x < width:
            out[c, i, j] = image[c, y, x]
    return out


@pytest.mark.parametrize(('way', 'device'), WAYS)
def test_every_offset_and_flip_as_mmpretrain(way, device):
    offsets, flips = every_view(4)
    images = random_images(len(flips), 3, 32, 32)
    got = way(images.to(device), offsets.to(device), flips.to(device), 4).cpu()
    crop, turn = RandomCrop(crop_size=32, padding=4), RandomFlip(prob=0.5, direction='horizontal')
    for image, offset, flip, ours in zip(images, offsets.tolist(), flips.tolist(), got):
        with (
            mock.patch.object(crop, 'rand_crop_params', return_value=(*offset, 32, 32)),
            mock.patch.object(
                turn, '_choose_direction', return_value='horizontal' if flip else None
            ),
        ):
            theirs = turn(crop(dict(img=image.permute(1, 2, 0).numpy())))['img']
        assert torch.equal(ours, torch.from_numpy(theirs.copy()).permute(2, 0, 1))


def test_mmpretrains_own_draws():
    """Its transforms run unchanged, on NumPy's generator; ours get the offsets that they drew."""
    crop, turn, drawn = RandomCrop(crop_size=32, padding=4), RandomFlip(prob=0.5), []
    images, theirs = random_images(64, 3, 32, 32), []
    np.random.seed(3)  # noqa: NPY002 - the generator that MMPretrain draws from
    original = crop.rand_crop_params
    with mock.patch.object(
        crop, 'rand_crop_params', side_effect=lambda img: drawn.append(original(img)) or drawn[-1]
    ):
        for image in images:
            result = turn(crop(dict(img=image.permute(1, 2, 0).numpy())))
            drawn[-1] = (*drawn[-1][:2], result['flip'])
            theirs.append(torch.from_numpy(result['img'].copy()).permute(2, 0, 1))
    assert len({row[:2] for row in drawn}) > 30
    assert {row[2] for row in drawn} == {True, False}
    ours = crop_flip(
        images, torch.tensor([row[:2] for row in drawn]), torch.tensor([row[2] for row in drawn]), 4
    )
    assert torch.equal(ours, torch.stack(theirs))


@pytest.mark.parametrize(
    ('shape', 'padding'), [((3, 5, 7), 2), ((1, 8, 8), 1), ((4, 3, 2), 3), ((3, 6, 4), 0)]
)
@pytest.mark.parametrize('dtype', [torch.uint8, torch.float32, torch.float64, torch.int16])
def test_against_a_plain_loop(shape, padding, dtype):
    offsets, flips = every_view(padding)
    images = random_images(len(flips), *shape).to(dtype)
    kept = images.clone()
    got = crop_flip(images, offsets, flips, padding)
    assert got.dtype == dtype
    assert got.is_contiguous()
    assert torch.equal(images, kept)
    for row in range(0, len(flips), 5):
        assert torch.equal(
            got[row], plain(images[row], offsets[row].tolist(), bool(flips[row]), padding)
        )


def test_both_ways_agree_on_images_that_are_not_contiguous():
    offsets, flips = every_view(1)
    images = random_images(len(flips), 8, 6, 3).permute(0, 3, 1, 2)
    assert torch.equal(_by_blocks(images, offsets, flips, 1), _by_pixels(images, offsets, flips, 1))
    assert _by_blocks(images, offsets, flips, 1).is_contiguous()


# --- the numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('counter', 'key', 'words'),
    [
        ([0] * 4, 0, '6627e8d5 e169c58d bc57ac4c 9b00dbd8'),
        ([2**32 - 1] * 4, 2**64 - 1, '408f276d 41c83b0e a20bc7c6 6d5451fd'),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            0x299F31D0A4093822,
            'd16cfe09 94fdcceb 5001e420 24126ea1',
        ),
    ],
)
def test_philox_known_answers(counter, key, words):
    """The published vectors of Random123 for philox4x32, 10 rounds."""
    got = philox4x32([np.array([word], dtype=np.uint64) for word in counter], key)
    assert ' '.join(f'{int(word):08x}' for word in got[:, 0]) == words


def plain_philox(counter, key):
    """In Python's integers, after the paper."""
    c, k = list(counter), [key % 2**32, key >> 32]
    for _ in range(10):
        first, second = c[0] * 0xD2511F53, c[2] * 0xCD9E8D57
        c = [second >> 32 ^ c[1] ^ k[0], second % 2**32, first >> 32 ^ c[3] ^ k[1], first % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def test_view_uniforms_against_plain_integers():
    ids = np.array([0, 1, 44_999, 2**32 - 1, 2**32, 2**40 + 3, 2**63 - 1])
    for seed in (0, 7, 2**32 + 5, 2**64 - 1):
        got = view_uniforms(seed, ids, 6)
        assert got.shape == (7, 6)
        assert got.dtype == np.float64
        for row, view in zip(got, ids.tolist()):
            words = [
                w
                for block in (0, 1)
                for w in plain_philox([view % 2**32, view >> 32, block, 4], seed)
            ]
            assert row.tolist() == [word / 2**32 for word in words[:6]]


def test_a_views_numbers_are_its_own():
    """Whatever stands beside it, in which order, and however many are asked for."""
    ids = np.random.default_rng(0).permutation(1000)
    whole = view_uniforms(5, ids, 5)
    for row in (0, 17, 999):
        assert (view_uniforms(5, ids[row : row + 1], 5) == whole[row]).all()
    assert (view_uniforms(5, ids[::-7], 3) == whole[::-7, :3]).all()
    assert view_uniforms(5, ids[:0], 3).shape == (0, 3)


def chi_square(values, expected):
    return float(((values - expected) ** 2 / expected).sum())


def test_view_uniforms_are_uniform_and_independent():
    count = 64_000
    for seed in (0, 1, 20240):
        drawn = view_uniforms(seed, np.arange(count), 4)
        assert drawn.min() >= 0
        assert drawn.max() < 1
        cells = (drawn * 8).astype(int)
        for column in range(4):
            fine = np.bincount((drawn[:, column] * 256).astype(int), minlength=256)
            assert chi_square(fine, count / 256) < CHI2_999[255]
        pairs = [(cells[:, a], cells[:, b]) for a, b in itertools.combinations(range(4), 2)]
        pairs += [(cells[:-lag, 0], cells[lag:, 0]) for lag in (1, 2, 45_000 % 64)]
        pairs.append(
            (cells[:, 0], (view_uniforms(seed + 1, np.arange(count), 1)[:, 0] * 8).astype(int))
        )
        for first, second in pairs:
            table = np.bincount(first * 8 + second, minlength=64)
            assert chi_square(table, len(first) / 64) < CHI2_999[63]


def test_the_global_generator_is_left_alone():
    np.random.seed(0)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    view_uniforms(0, np.arange(4), 3)
    assert np.random.rand() == expected  # noqa: NPY002


@pytest.mark.parametrize(('seed', 'ids'), [(-1, [0]), (2**64, [0]), (0, [3, -1])])
def test_wrong_arguments(seed, ids):
    with pytest.raises(ValueError, match='seed must be in'):
        view_uniforms(seed, np.array(ids), 1)

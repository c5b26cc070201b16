"""Random crop and horizontal flip of a whole batch, each image by its own numbers."""

import numpy as np
import torch
import torch.nn.functional as F


def crop_flip(
    images: torch.Tensor, offsets: torch.Tensor, flip: torch.Tensor, padding: int
) -> torch.Tensor:
    """Pads each image with zeros, crops it to its old size, then flips it where asked.

    ``out[b, c, i, j] = padded[b, c, i + y_b, j' + x_b]``, with j' = W − 1 − j if image b is flipped
    and j' = j otherwise. Pixel for pixel this is MMPretrain's
    ``RandomCrop(crop_size=(H, W), padding=padding)`` followed by ``RandomFlip``. It does not loop
    over the images, and nothing in it waits for the device.

    Args:
        images: (B, C, H, W) of any dtype, on any device.
        offsets: (B, 2) integers in 0..2·padding, each image's (y, x). They are not checked, since
            that would wait for the device.
        flip: (B,) bool, from left to right.
        padding: pixels on each side, >= 0.

    Returns:
        (B, C, H, W), contiguous, in the images' dtype.

    Examples:
        >>> image = torch.tensor([[[[1, 2], [3, 4]]]])
        >>> crop_flip(image, torch.tensor([[1, 1]]), torch.tensor([True]), padding=1).tolist()
        [[[[2, 1], [4, 3]]]]
        >>> crop_flip(image, torch.tensor([[0, 1]]), torch.tensor([False]), padding=1).tolist()
        [[[[0, 0], [1, 2]]]]
    """
    if images.device.type == 'cpu' and images.dtype == torch.uint8:
        return _by_blocks(images, offsets, flip, padding)
    return _by_pixels(images, offsets, flip, padding)


def _by_pixels(
    images: torch.Tensor, offsets: torch.Tensor, flip: torch.Tensor, padding: int
) -> torch.Tensor:
    """One gather, on any device."""
    batch, channels, height, width = images.shape
    padded = F.pad(images, (padding,) * 4).contiguous()
    columns = torch.arange(width, device=images.device)
    columns = torch.where(flip[:, None], width - 1 - columns, columns) + offsets[:, 1:]
    rows = (torch.arange(height, device=images.device) + offsets[:, :1]) * padded.shape[3]
    index = (
        (rows[:, :, None] + columns[:, None, :])
        .view(batch, 1, height * width)
        .expand(-1, channels, -1)
    )
    return padded.view(batch, channels, -1).gather(2, index).view(images.shape)


def _by_blocks(
    images: torch.Tensor, offsets: torch.Tensor, flip: torch.Tensor, padding: int
) -> torch.Tensor:
    """Copies bytes on a CPU, faster than torch gathers pixels.

    To NumPy a window is one item: H whole padded rows, read from the window's first pixel on. One
    more row below lets the last window end within its channel.
    """
    batch, channels, height, width = images.shape
    row = width + 2 * padding
    padded = images.new_zeros(batch, channels, height + 2 * padding + 1, row)
    padded[:, :, padding : padding + height, padding : padding + width] = images
    pixels = padded.numpy()
    windows: np.ndarray = np.ndarray(
        (batch, channels, 2 * padding * (row + 1) + 1),
        f'V{height * row}',
        pixels,
        strides=(*pixels.strides[:2], 1),
    )
    taken = windows[np.arange(batch), :, offsets.numpy() @ (row, 1)]
    cropped = (
        torch.from_numpy(taken.view(np.uint8))
        .view(batch, channels, height, row)[..., :width]
        .contiguous()
    )
    flipped = flip.numpy().nonzero()[0]
    cropped.numpy()[flipped] = cropped.index_select(0, torch.from_numpy(flipped)).flip(3).numpy()
    return cropped

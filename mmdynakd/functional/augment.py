"""Random crop and horizontal flip of a whole batch, each image by its own numbers."""

import numpy as np
import torch
import torch.nn.functional as F


def crop_flip(
    images: torch.Tensor, offsets: torch.Tensor, flip: torch.Tensor, padding: int
) -> torch.Tensor:
    """Pads each image with zeros, crops it to its old size, then flips it from left to right where
    asked.

    ``out[b, c, i, j] = padded[b, c, i + y_b, j' + x_b]``, j' = W − 1 − j where image b is flipped
    and j elsewhere: pixel for pixel MMPretrain's ``RandomCrop(crop_size=(H, W), padding=padding)``
    followed by ``RandomFlip``. No loop over the images, and nothing that waits for the device.

    Args:
        images: (B, C, H, W) of any dtype, on any device.
        offsets: (B, 2) integers in 0..2·padding, each image's (y, x); not checked, as that would
            wait for the device.
        flip: (B,) bool.
        padding: pixels on each side, >= 0.

    Returns:
        (B, C, H, W), contiguous, in the images' dtype.
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
    """Bytes on a CPU: a window, read as H whole padded rows from its first pixel on, is one item to
    NumPy.

    It copies those faster than torch gathers pixels. One more row below lets the last window end
    within its channel.
    """
    batch, channels, height, width = images.shape
    row = width + 2 * padding
    padded = images.new_zeros(batch, channels, height + 2 * padding + 1, row)
    padded[:, :, padding : padding + height, padding : padding + width] = images
    padded = padded.numpy()
    windows = np.ndarray(
        (batch, channels, 2 * padding * (row + 1) + 1),
        f'V{height * row}',
        padded,
        strides=(*padded.strides[:2], 1),
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

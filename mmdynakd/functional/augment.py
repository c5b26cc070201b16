"""Random crop and horizontal flip of a whole batch, each image by its own numbers."""
import numpy as np
import torch
import torch.nn.functional as F


def crop_flip(images: torch.Tensor, offsets: torch.Tensor, flip: torch.Tensor, padding: int) -> torch.Tensor:
    """Pads each image with zeros, crops it to its old size, then flips it from left to right where asked.

    ``out[b, c, i, j] = padded[b, c, i + y_b, j' + x_b]``, j' = W − 1 − j where image b is flipped and j elsewhere:
    pixel for pixel MMPretrain's ``RandomCrop(crop_size=(H, W), padding=padding)`` followed by ``RandomFlip``. No loop
    over the images, and nothing that waits for the device.

    Args:
        images: (B, C, H, W) of any dtype, on any device.
        offsets: (B, 2) integers in 0..2·padding, each image's (y, x); not checked, as that would wait for the device.
        flip: (B,) bool.
        padding: pixels on each side, >= 0.

    Returns:
        (B, C, H, W), contiguous, in the images' dtype.
    """
    if images.device.type == 'cpu' and images.dtype == torch.uint8:
        return _by_rows(images, offsets, flip, padding)
    return _by_pixels(images, offsets, flip, padding)


def _by_pixels(images: torch.Tensor, offsets: torch.Tensor, flip: torch.Tensor, padding: int) -> torch.Tensor:
    """One gather, on any device."""
    batch, channels, height, width = images.shape
    padded = F.pad(images, (padding, ) * 4).contiguous()
    columns = torch.arange(width, device=images.device)
    columns = torch.where(flip[:, None], width - 1 - columns, columns) + offsets[:, 1:]
    rows = (torch.arange(height, device=images.device) + offsets[:, :1]) * padded.shape[3]
    index = (rows[:, :, None] + columns[:, None, :]).view(batch, 1, height * width).expand(-1, channels, -1)
    return padded.view(batch, channels, -1).gather(2, index).view(images.shape)


def _by_rows(images: torch.Tensor, offsets: torch.Tensor, flip: torch.Tensor, padding: int) -> torch.Tensor:
    """Bytes on a CPU: a row of a window is one item to NumPy, which copies rows faster than torch gathers pixels."""
    batch, channels, height, width = images.shape
    # Flipped first, an image is cropped from the other side.
    chosen = torch.cat([images, images.flip(3)]).index_select(0, torch.arange(batch) + batch * flip)
    columns = torch.where(flip, 2 * padding - offsets[:, 1], offsets[:, 1])
    padded = F.pad(chosen, (padding, ) * 4).contiguous().numpy()
    image, channel, row, pixel = padded.strides
    windows = np.ndarray((batch, 2 * padding + 1, 2 * padding + 1, channels, height), f'V{width}', padded,
                         strides=(image, row, pixel, channel, row))
    cropped = windows[np.arange(batch), offsets[:, 0].numpy(), columns.numpy()]
    return torch.from_numpy(cropped.view(np.uint8)).view(images.shape)

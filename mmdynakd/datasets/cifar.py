"""CIFAR-100 with a validation split held out of the training images.

Its files are read without running what is pickled in them.
"""

import contextlib
import hashlib
import os
import os.path as osp
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from mmengine import dist
from mmengine.fileio import LocalBackend, exists, get, get_file_backend, join_path
from mmpretrain.datasets import CIFAR100 as _CIFAR100

from mmdynakd.downloads import download
from mmdynakd.errors import UnreachableError
from mmdynakd.files import patiently, write_bytes
from mmdynakd.registry import DATASETS

from .safe_pickle import load_arrays

T = TypeVar('T')
Indices = npt.NDArray[np.int64]
SPLITS = ('train', 'val', 'trainval', 'test')
VAL_PER_CLASS = 50
FILES = ('train', 'test', 'meta')
# of the official archive
SHA256 = '85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7'


class DatasetFileError(RuntimeError):
    """A file of the data set is missing or damaged.

    The message names the folder, the argument and the remedy.
    """


def hold_out_last(labels: npt.ArrayLike, per_class: int = VAL_PER_CLASS) -> tuple[Indices, Indices]:
    """Holds out the last ``per_class`` samples of each class in file order.

    Args:
        labels: (N,) integer classes in file order.
        per_class: how many samples of each class to hold out.

    Returns:
        The indices that stay, (N - C * per_class,), and those held out, (C * per_class,), both
        rising; C is the number of classes present.

    Raises:
        ValueError: a class has no more than ``per_class`` samples, so none would stay.

    Examples:
        >>> stay, held = hold_out_last([0, 1, 0, 1, 1], per_class=1)
        >>> stay.tolist(), held.tolist()
        ([0, 1, 3], [2, 4])
    """
    classes = np.asarray(labels)
    held = np.zeros(len(classes), dtype=bool)
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        if len(members) <= per_class:
            raise ValueError(
                f'class {label} has {len(members)} images; {per_class} held out would leave none'
            )
        held[members[len(members) - per_class :]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


def unpack(archive: Path, members: list[str], root: Path) -> None:
    """Writes some files of a tar archive below a folder, each whole or not at all.

    A file that is there already is kept.

    Args:
        archive: a .tar, or compressed.
        members: names of the files in the archive.
        root: the folder.

    Raises:
        DatasetFileError: one of them is absent or not a plain file; then nothing is written.

    Examples:
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / 'a').write_text('A')
        >>> with tarfile.open(folder / 'all.tar', 'w') as tar:
        ...     tar.add(folder / 'a', 'data/a')
        >>> unpack(folder / 'all.tar', ['data/a'], folder / 'out')
        >>> (folder / 'out' / 'data' / 'a').read_text()
        'A'
    """
    with tarfile.open(archive) as tar:
        contents = {name: _content(tar, name, archive.name) for name in members}
    for name, content in contents.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            write_bytes(str(target.parent), target.name, content)


def _content(tar: tarfile.TarFile, name: str, archive: str) -> bytes:
    try:
        file = tar.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise DatasetFileError(f'{archive} holds no file {name}')
    return file.read()


@DATASETS.register_module()
class CIFAR100(_CIFAR100):
    """MMPretrain's ``CIFAR100`` with splits that let a method be chosen without looking at test.

    Source: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. ``train`` is
    the 45,000 training images left after ``val``, the last 50 of each class in file order;
    ``trainval`` is all 50,000, ``test`` the 10,000 test images. A sample is ``img``, ``(32, 32,
    3)`` uint8, and ``gt_label``, an int in 0..99. Only the file a split needs is read.

    Args:
        data_root: folder that holds ``cifar-100-python``.
        split: ``'train'``, ``'val'``, ``'trainval'`` or ``'test'``.
        download: whether to download the official archive (checked against its sha256) if the file
            is missing. A file that is there is never overwritten.
        verify: whether to compare the official md5 sum. False is for the same images packed anew.
        channel_order: ``'rgb'``, as the files have it, or ``'bgr'``, as MMPretrain reads image
            files.
        **kwargs: ``pipeline``, ``indices``, ``metainfo``, ``test_mode`` and others of MMPretrain's
            ``BaseDataset``.

    Raises:
        ValueError: the split or the channel order is unknown.
        DatasetFileError: the file is missing and cannot be downloaded, is damaged, or its md5 sum
            differs.

    Examples:
        >>> CIFAR100('no/such/folder', split='val', download=False)
        Traceback (most recent call last):
        mmdynakd.datasets.cifar.DatasetFileError: CIFAR100: no/such/folder/... is missing...
        >>> data = CIFAR100('data', split='val', download=False, lazy_init=True)  # not read yet
        >>> data.split, len(data.CLASSES)
        ('val', 100)
    """

    def __init__(
        self,
        data_root: str = '',
        split: str = 'train',
        download: bool = True,
        verify: bool = True,
        channel_order: str = 'rgb',
        **kwargs: Any,
    ) -> None:
        if split not in SPLITS:
            raise ValueError(f'CIFAR100: split must be one of {SPLITS}, got {split!r}')
        if channel_order not in ('rgb', 'bgr'):
            raise ValueError(
                f"CIFAR100: channel_order must be 'rgb' or 'bgr', got {channel_order!r}"
            )
        self.part, self.channel_order = split, channel_order
        self.verify = verify
        # The parent knows two files, and warns about test_mode with 'train': val passes as its
        # 'test'.
        super().__init__(
            data_root=osp.expanduser(data_root),
            download=download,
            split='train' if split in ('train', 'trainval') else 'test',
            **kwargs,
        )
        self.split = split

    @classmethod
    def as_image_files(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """What to change in a config so that channels are ordered as MMPretrain reads image files.

        A network exported with such a config takes arrays of this data set and image files alike.

        Args:
            config: of this data set.

        Returns:
            Arguments to set; empty if the order is BGR already.

        Examples:
            >>> CIFAR100.as_image_files(dict(type='mmdynakd.CIFAR100'))
            {'channel_order': 'bgr'}
            >>> CIFAR100.as_image_files(dict(type='mmdynakd.CIFAR100', channel_order='bgr'))
            {}
        """
        return {'channel_order': 'bgr'} if config.get('channel_order', 'rgb') == 'rgb' else {}

    def load_data_list(self) -> list[dict[str, Any]]:
        """One ``img`` and ``gt_label`` a sample, in file order."""
        filename, md5 = (self.test_list if self.part == 'test' else self.train_list)[0]
        path = join_path(self.data_prefix['root'], self.base_folder, filename)
        self._ensure(path)
        images, labels = self._read(path, md5 if self.verify else None)
        if self.part in ('train', 'val'):
            try:
                chosen = hold_out_last(labels)[('train', 'val').index(self.part)]
            except ValueError as error:
                raise DatasetFileError(self._message(f'{path}: {error}')) from error
            images, labels = images[chosen], labels[chosen]
        images = images.reshape(-1, 3, 32, 32)
        if self.channel_order == 'bgr':
            images = images[:, ::-1]
        images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        return [
            {'img': image, 'gt_label': int(label)}
            for image, label in zip(images, labels, strict=True)
        ]

    def _ensure(self, path: str) -> None:
        """Downloads the archive in the main process if it is needed; all raise if that fails."""
        try:
            if self.download and dist.is_main_process() and not exists(path):
                self._download()
        except Exception as error:
            raise DatasetFileError(
                self._message(f'{path} is missing and the download failed ({error})')
            ) from error
        finally:
            dist.barrier()  # the other processes wait here, also for a download that fails
        if not exists(path):
            with contextlib.suppress(FileNotFoundError):
                self._patiently(lambda: os.stat(path), path)
        if not exists(path):
            raise DatasetFileError(self._message(f'{path} is missing'))

    def _patiently(self, action: Callable[[], T], path: str) -> T:
        try:
            return patiently(action, path)
        except UnreachableError as error:
            raise DatasetFileError(self._message(str(error))) from error

    def _download(self) -> None:
        root = self.data_prefix['root']
        if not isinstance(get_file_backend(root, enable_singleton=True), LocalBackend):
            raise DatasetFileError('only a local folder can be downloaded to')
        os.makedirs(root, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix='.download-') as folder:
            archive = Path(folder, self.filename)
            download(self.url, archive, [SHA256])
            unpack(archive, [f'{self.base_folder}/{name}' for name in FILES], Path(root))

    def _read(self, path: str, md5: str | None) -> tuple[npt.NDArray[np.uint8], Indices]:
        """Images, (N, 3072), and labels, (N,), of a file."""
        content = self._patiently(lambda: get(path), path)
        if md5 is not None and hashlib.md5(content).hexdigest() != md5:
            raise DatasetFileError(
                self._message(
                    f'{path} has another md5 sum than the official file: it is damaged or cut '
                    'short, or packed anew (verify=False accepts the latter)'
                )
            )
        try:
            entry = load_arrays(content)
            data, labels = entry['data'], np.asarray(entry['fine_labels'])
            sound = (
                data.dtype == np.uint8
                and data.shape == (len(labels), 3072)
                and len(labels) > 0
                and labels.dtype.kind in 'iu'
                and labels.min() >= 0
                and labels.max() < len(self.METAINFO['classes'])
            )
        except Exception as error:  # a damaged pickle raises anything
            raise DatasetFileError(self._message(f'{path} is damaged ({error!r})')) from error
        if not sound:
            raise DatasetFileError(
                self._message(f'{path} is damaged: it must hold N images as data and N fine_labels')
            )
        return data, labels

    def _message(self, problem: str) -> str:
        root = self.data_prefix['root']
        return (
            f'CIFAR100: {problem}. The folder is data_root={root!r}: set data_root to the folder '
            f'that holds {self.base_folder}, or remove {self.base_folder} and set '
            f'download=True, or unpack {self.url} there by hand.'
        )

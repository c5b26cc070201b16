# cifar100.py by the fast path (docs/data.md): the split in memory as one array, crop and flip on
# the training device. Names, splits, batch sizes and augmentation are those of cifar100.py; the
# test loader stays its pipeline, which the exported student's config takes over.
_base_ = 'cifar100.py'
data_preprocessor = dict(type='mmdynakd.BatchPreprocessor')


def _loader(split, sampler, shuffle, batch_size, **augmentation):
    return dict(
        batch_size=batch_size, num_workers=0, persistent_workers=False,
        collate_fn=dict(type='mmdynakd.batch_collate'),
        dataset=dict(_delete_=True, type='mmdynakd.ArrayDataset', **augmentation,
                     dataset=dict(type='mmdynakd.CIFAR100', data_root={{_base_.data_root}},
                                  split=split)),
        sampler=dict(type=sampler, shuffle=shuffle))


train_dataloader = _loader('train', 'mmdynakd.ViewSampler', True, 64, crop_padding=4, flip=0.5)
upper_dataloader = _loader('val', 'DefaultSampler', True, 64)
val_dataloader = _loader('val', 'DefaultSampler', False, 500)

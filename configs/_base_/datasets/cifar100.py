# CIFAR-100; val is the last 50 training images of each class in file order, train the 45,000
# others.
data_root = 'data/cifar100'
data_preprocessor = dict(type='ClsDataPreprocessor', mean=[129.304, 124.070, 112.434],
                         std=[68.170, 65.392, 70.418],
                         to_rgb=False)
train_pipeline = [
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]


def _loader(split, pipeline, shuffle, batch_size):
    return dict(
        # faster than workers: images are in memory
        batch_size=batch_size, num_workers=0, persistent_workers=False,
        dataset=dict(type='mmdynakd.CIFAR100', data_root=data_root, split=split, pipeline=pipeline),
        sampler=dict(type='DefaultSampler', shuffle=shuffle))


train_dataloader = _loader('train', train_pipeline, True, 64)
upper_dataloader = _loader('val', test_pipeline, True, 64)
val_dataloader = _loader('val', test_pipeline, False, 500)
test_dataloader = _loader('test', test_pipeline, False, 500)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator

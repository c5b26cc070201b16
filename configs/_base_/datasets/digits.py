# scikit-learn's handwritten digits: 1,797 real 8x8 images, 10 classes, no download.
data_preprocessor = dict(type='ClsDataPreprocessor', mean=[76.3] * 3, std=[92.0] * 3, to_rgb=False)
train_pipeline = [
    dict(type='RandomCrop', crop_size=8, padding=1),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]
loader = dict(batch_size=64, num_workers=0, persistent_workers=False)


def _split(split, pipeline, shuffle):
    return dict(**loader,
                dataset=dict(type='mmdynakd.Digits', split=split, channels=3, pipeline=pipeline),
                sampler=dict(type='DefaultSampler', shuffle=shuffle))


train_dataloader = _split('train', train_pipeline, True)
upper_dataloader = _split('val', test_pipeline, True)
val_dataloader = _split('val', test_pipeline, False)
test_dataloader = _split('test', test_pipeline, False)
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator

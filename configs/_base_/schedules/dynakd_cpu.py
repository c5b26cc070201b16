# Short enough for two CPU cores, at batch 128: cosine from 0.1 to 0 in 4 epochs; theta by Adam,
# every fourth step.
optim_wrapper = dict(
    constructor='mmdynakd.BilevelOptimWrapperConstructor',
    upper_interval=4,
    student=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4,
                                nesterov=True)),
    theta=dict(optimizer=dict(type='Adam', lr=0.01, betas=(0.5, 0.999))))
param_scheduler = dict(student=dict(type='CosineAnnealingLR', T_max=4, by_epoch=True,
                                    convert_to_iter_based=True))

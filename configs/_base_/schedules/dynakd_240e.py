# The field's recipe for the students, in the search and in the evaluation; theta by Adam, every
# fifth step.
optim_wrapper = dict(
    constructor='mmdynakd.BilevelOptimWrapperConstructor',
    upper_interval=5,
    student=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4)),
    theta=dict(optimizer=dict(type='Adam', lr=0.001, betas=(0.5, 0.999))))
param_scheduler = dict(student=dict(type='MultiStepLR', milestones=[150, 180, 210], gamma=0.1,
                                    by_epoch=True))

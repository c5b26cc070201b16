optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4,
                                    nesterov=True))
param_scheduler = dict(type='CosineAnnealingLR', T_max=10, by_epoch=True,
                       convert_to_iter_based=True)
train_cfg = dict(type='mmdynakd.RepeatableTrainLoop', max_epochs=10, val_interval=5)
val_cfg = dict()
test_cfg = dict()

# The field's recipe: 240 epochs, batch 64, SGD 0.05, a tenth of it at 150, 180 and 210.
train_cfg = dict(type='mmdynakd.RepeatableTrainLoop', max_epochs=240, val_interval=10)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4))
param_scheduler = dict(type='MultiStepLR', milestones=[150, 180, 210], gamma=0.1, by_epoch=True)

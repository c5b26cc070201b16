# mmdynakd train configs/dynakd_digits.py     (its teachers first, or all of it: mmdynakd demo)
_base_ = ['_base_/datasets/digits.py', '_base_/students/digits_resnet8.py',
          '_base_/teachers/digits.py',
          '_base_/methods/dynakd_kd.py', '_base_/runtime.py']
model = dict(architecture={{_base_.student}}, teachers={{_base_.teachers}})
optim_wrapper = dict(
    constructor='mmdynakd.BilevelOptimWrapperConstructor',
    student=dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4,
                                nesterov=True)),
    theta=dict(optimizer=dict(type='Adam', lr=0.02, betas=(0.5, 0.999))))
param_scheduler = dict(student=dict(type='CosineAnnealingLR', T_max=15, by_epoch=True,
                                    convert_to_iter_based=True))
train_cfg = dict(type='mmdynakd.BilevelTrainLoop', max_epochs=15, val_interval=5,
                 upper_dataloader={{_base_.upper_dataloader}})
custom_hooks = [dict(type='mmdynakd.CandidateEvaluationHook', num_candidates=4,
                     baselines={{_base_.baselines}},
                     single_teachers=True)]

# mmdynakd train configs/dynakd_r8_cifar100_cpu.py   (for two CPU cores)
# Teachers resnet8x4, resnet32, resnet14 -> student resnet8; others: --cfg-options
# model.teachers.NAME.checkpoint=…
_base_ = ['_base_/datasets/cifar100.py', '_base_/students/cifar100_resnet8.py',
          '_base_/teachers/r8x4_r32_r14_cifar100.py', '_base_/methods/dynakd_kd.py',
          '_base_/schedules/dynakd_cpu.py', '_base_/runtime.py']
model = dict(architecture={{_base_.student}}, teachers={{_base_.teachers}})
train_dataloader = dict(batch_size=128)
train_cfg = dict(type='mmdynakd.BilevelTrainLoop', max_epochs=4,
                 upper_dataloader={{_base_.upper_dataloader}})
# Without the factor 1/n that eq. 4 gives a uniform lane: how much of a difference is only scale?
unscaled = dict(selection=dict(probs='uniform', weight_by_probability='none'))
shorter = dict(train_cfg=dict(max_epochs=2), param_scheduler=dict(student=dict(T_max=2)))
custom_hooks = [dict(type='mmdynakd.CandidateEvaluationHook', num_candidates=3,
                     single_teachers=True,
                     evaluation=shorter,
                     baselines=dict(ce=dict(selection=None),
                                    uniform=dict(selection=dict(probs='uniform')),
                                    uniform_unscaled=unscaled))]

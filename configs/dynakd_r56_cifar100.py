# mmdynakd train configs/dynakd_r56_cifar100.py      (two GPUs: tools/dist_train.sh … 2)
# Teachers resnet56, resnet44, resnet32 -> student resnet20, 240 epochs of search, then of
# evaluation. The public teachers know the images of val, on which theta is learned: as far as is
# told, they saw all 50,000.
_base_ = ['_base_/datasets/cifar100_arrays.py', '_base_/students/cifar100_resnet20.py',
          '_base_/teachers/r56_r44_r32_cifar100.py', '_base_/methods/dynakd_kd.py',
          '_base_/schedules/dynakd_240e.py', '_base_/runtime.py']
model = dict(architecture={{_base_.student}}, teachers={{_base_.teachers}}, fast='fp32')
train_cfg = dict(type='mmdynakd.BilevelTrainLoop', max_epochs=240, val_interval=10,
                 upper_dataloader={{_base_.upper_dataloader}})
custom_hooks = [dict(type='mmdynakd.CandidateEvaluationHook', num_candidates=4,
                     baselines={{_base_.baselines}},
                     single_teachers=True)]

# Feature distillation from teachers of different widths (resnet8x4, resnet32, resnet14) to
# resnet20: the losses are mixed, and every teacher has a distiller with connectors of its own, of
# which the drawn teacher's is used in a step.
_base_ = ['datasets/cifar100.py', 'students/cifar100_resnet20.py',
          'teachers/r8x4_r32_r14_cifar100.py',
          'methods/dynakd_kd.py', 'schedules/dynakd_240e.py', 'runtime.py']
model = dict(architecture={{_base_.student}}, teachers={{_base_.teachers}}, mix='losses',
             student_loss_weight=1,
             fast='fp32')
train_cfg = dict(type='mmdynakd.BilevelTrainLoop', max_epochs=240, val_interval=10,
                 upper_dataloader={{_base_.upper_dataloader}})
custom_hooks = [dict(type='mmdynakd.CandidateEvaluationHook', num_candidates=4,
                     baselines={{_base_.baselines}},
                     single_teachers=True)]
find_unused_parameters = True

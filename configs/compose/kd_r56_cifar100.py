# mmdynakd train configs/compose/kd_r56_cifar100.py
# KD (Hinton et al.): MMRazor's KLDivergence with tau = 4, as configs/dynakd_r56_cifar100.py has it,
# written out.
_base_ = '../dynakd_r56_cifar100.py'
model = dict(distiller=dict(distill_losses=dict(
    loss_kl=dict(type='KLDivergence', tau=4, loss_weight=0.9, teacher_detach=False))))

# mmdynakd train configs/compose/kdsoftce_r56_cifar100.py
# Soft cross entropy: KD without the constant of the teacher's entropy, which theta does see.
_base_ = '../dynakd_r56_cifar100.py'
model = dict(distiller=dict(
    distill_losses=dict(_delete_=True, loss_soft=dict(type='KDSoftCELoss', tau=4, loss_weight=0.9)),
    loss_forward_mappings=dict(_delete_=True, loss_soft=dict(
        preds_S=dict(from_student=True, recorder='logits'),
        preds_T=dict(from_student=False, recorder='logits')))))

# mmdynakd train configs/compose/logitstd_r56_cifar100.py
# KD + LogitStd: KD on standardized logits (tau 2, weight 9), beside the labels with weight 0.1.
_base_ = '../dynakd_r56_cifar100.py'
model = dict(distiller=dict(
    distill_losses=dict(_delete_=True,
                        loss_kl=dict(type='mmdynakd.LogitStdKDLoss', tau=2, loss_weight=9)),
    loss_forward_mappings=dict(_delete_=True, loss_kl=dict(
        preds_S=dict(from_student=True, recorder='logits'),
        preds_T=dict(from_student=False, recorder='logits')))))
